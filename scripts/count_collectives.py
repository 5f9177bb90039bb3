"""What the devices of a run say to one another in a step, counted from its compiled program.

    python -m scripts.count_collectives sinkhorn-mnist --devices 8 [--set KEY=VALUE]

Devices are simulated, so that this needs none. What stands in the body of a loop, by the loop's
number, counts for one iteration of that loop; loop 0 is none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter
from typing import Any, NamedTuple

OPERATION = re.compile(
    r"= (.+?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
ARRAY = re.compile(r"(pred|[a-z]+?)(\d*)\[([\d,]*)\]")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
BODY = re.compile(r"body=%?([\w.\-]+)")
CALLED = re.compile(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


class Counted(NamedTuple):
    """Collective operations of one kind."""

    kind: str
    loop: int  # the innermost that they are in, 0 for none
    operations: int
    bytes: int  # of their results, on one device


def count(text: str) -> list[Counted]:
    """The collective operations of a compiled program."""
    parts, name = {}, ""
    for line in text.splitlines():
        if found := COMPUTATION.match(line):
            name = found[1]
        parts.setdefault(name, []).append(line)
    bodies = [body for lines in parts.values() for body in _named(lines, BODY)]
    loops = {part: i for i, body in enumerate(bodies, 1) for part in _reached(parts, body)}
    operations, sizes = Counter(), Counter()
    for name, lines in parts.items():
        for line in lines:
            if found := OPERATION.search(line):
                key = (loops.get(name, 0), found[2])
                operations[key] += 1
                sizes[key] += sum(map(_bytes, ARRAY.findall(found[1])))
    return [
        Counted(kind, loop, number, sizes[loop, kind])
        for (loop, kind), number in sorted(operations.items())
    ]


def _reached(parts: dict[str, list[str]], name: str) -> set[str]:
    """A computation and all that it calls, but for the bodies of further loops."""
    reached, left = set(), [name]
    while left:
        if (name := left.pop()) not in reached:
            reached.add(name)
            lines = parts.get(name, [])
            left += _named(lines, CALLED)
            left += [one.strip(" %") for many in _named(lines, BRANCHES) for one in many.split(",")]
    return reached


def _named(lines: list[str], what: re.Pattern[str]) -> list[str]:
    return [name for line in lines for name in what.findall(line)]


def _bytes(array: tuple[str, str, str]) -> int:
    _, bits, shape = array
    size = 1
    for extent in filter(None, shape.split(",")):
        size *= int(extent)
    return size * max(1, int(bits or 8) // 8)


def compile_step(name: str, assignments: list[str], devices: int) -> Any:
    """A step of an experiment on so many devices, compiled."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from otgan import experiments
    from otgan.assembly import assemble
    from otgan.layout import spread

    config = experiments.resolve(name, dict(map(experiments.parse_set, assignments)))
    setup = assemble(config, devices=devices)
    everywhere = NamedSharding(setup.mesh, PartitionSpec())
    state = jax.jit(setup.system.stepper.init, out_shardings=everywhere)(setup.initial)
    step = jax.jit(setup.system.stepper.step, out_shardings=everywhere)
    return step.lower(state, spread(setup.data, setup.mesh)).compile()


def main() -> None:
    """Print the count as JSON, a line each."""
    parser = argparse.ArgumentParser(description="Count a step's collective operations.")
    parser.add_argument("experiment")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    given = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={given.devices}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    program = compile_step(given.experiment, given.assignments, given.devices)
    for counted in count(program.as_text()):
        print(json.dumps(counted._asdict()))
    cost = program.cost_analysis()
    print(json.dumps({"flops_outside_loops_and_one_iteration": cost.get("flops")}))


if __name__ == "__main__":
    main()

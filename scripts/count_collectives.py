"""What the devices of a run say to one another in a step, counted from its compiled program.

    python -m scripts.count_collectives sinkhorn-mnist --devices 8 [--set KEY=VALUE]

Devices are simulated, so that this needs none. An operation within a loop counts once for every
time that the loop's body is run: `inside` is per iteration of the innermost loop.
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
    inside: bool  # of a loop
    operations: int
    bytes: int  # of their results, on one device


def count(text: str) -> list[Counted]:
    """The collective operations of a compiled program."""
    parts, name = {}, ""
    for line in text.splitlines():
        if found := COMPUTATION.match(line):
            name = found[1]
        parts.setdefault(name, []).append(line)
    looped = _reached(parts, {body for lines in parts.values() for body in _named(lines, BODY)})
    operations, sizes = Counter(), Counter()
    for name, lines in parts.items():
        for line in lines:
            if found := OPERATION.search(line):
                key = (found[2], name in looped)
                operations[key] += 1
                sizes[key] += sum(map(_bytes, ARRAY.findall(found[1])))
    return [
        Counted(kind, inside, number, sizes[kind, inside])
        for (kind, inside), number in sorted(operations.items())
    ]


def _reached(parts: dict[str, list[str]], names: set[str]) -> set[str]:
    """Computations of these names, and all that they call."""
    reached, left = set(), [*names]
    while left:
        if (name := left.pop()) not in reached:
            reached.add(name)
            lines = parts.get(name, [])
            left += [*_named(lines, CALLED), *_named(lines, BODY)]
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

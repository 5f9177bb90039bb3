"""Is all well on this machine's GPU, and how fast is it?

    python -m scripts.gpu_check              # within 20 minutes
    python -m scripts.gpu_check --small      # minutes; also on a CPU

The tests of costs and solvers, the table of gradients beside other libraries, networks and steps
beside PyTorch's, steps in float32 and in bfloat16 with the memory that they took, and a trace. It
needs no data set. What it found is printed and written as one JSON. Each part is a process of its
own: one that fails, or takes too long, says so there, and the others go on; the exit code is then
1. Tests need the extra `dev`, other libraries `bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from otgan.errors import UserError
from otgan.experiments import resolve
from otgan.files import write_atomically
from otgan.plain import from_json
from scripts.bench.measuring import conditions, ending, milliseconds, timed, versions
from scripts.bench.networks import AT_ONCE, ROWS, SMALL, random_pictures
from scripts.bench.steps import OurSteps
from scripts.bench_eval import peak_bytes

ROOT = Path(__file__).parents[1]
CORE = ["tests/test_costs.py", "tests/oracles", "tests/test_step.py", "tests/test_problem.py"]
STEPS = [recipe for recipe, what in ROWS if what == "step"]
PRECISIONS = ("float32", "bfloat16")
PEERS = ("geomloss", "torch")
SAID = 2_000  # letters of what a part that failed has said, the last ones
Command = tuple[list[str], float]  # its words after `python`, and seconds that it may take


def main() -> None:
    """Parse; run all parts, or be one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("bench/gpu.json"))
    parser.add_argument("--trace", type=Path, default=Path("bench/gpu-trace"), help="its folder")
    parser.add_argument("--small", action="store_true", help="small sizes; also on a CPU")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts")
    parser.add_argument("--be", nargs=3, metavar=("KIND", "RECIPE", "PRECISION"), help="one part")
    args = parser.parse_args()
    if args.be:
        kind, recipe, precision = args.be
        print(json.dumps(steps(kind, recipe, precision, args.small, args.trace)))
        return
    if not args.small and jax.default_backend() != "gpu":
        raise UserError(
            f"JAX sees no GPU, but {jax.default_backend()}: install otgan's extra `cuda`, or try"
            " this with --small"
        )
    with tempfile.TemporaryDirectory() as folder:
        parts = dict(commands(Path(folder), args.trace, args.small))
        if unknown := set(args.only or ()) - set(parts):
            raise UserError(f"there is no part {min(unknown)}: there are {', '.join(parts)}")
        found = check({name: parts[name] for name in args.only or parts}, Path(folder), args.small)
    text = json.dumps(found, indent=1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out, text + "\n")
    print(text)
    sys.exit(not all(part["well"] for part in found["parts"].values()))


def commands(folder: Path, trace: Path, small: bool) -> Iterator[tuple[str, Command]]:
    """The parts by name, in their order; together they take 20 minutes at most."""
    size = ["--small"] if small else ["--without-data"]
    tests = CORE[:1] if small else ["-n", "4", *CORE]
    yield "tests", (["-m", "pytest", "-q", "-m", "not slow", *tests], 420)
    # the others compute on the CPU
    oracle = ["--peers", "ott-jax", "geomloss", "--limit", "5", "--seconds", "5"]
    out = ["--out", str(folder / "oracle.json")]
    yield "oracle", (["-m", "scripts.bench.oracle", *out, *oracle, *size], 300)
    out = ["--out", str(folder / "networks.json"), "--seconds", "1" if small else "10"]
    yield "networks", (["-m", "scripts.bench.networks", *out, *size], 180)
    alone = ["-m", "scripts.gpu_check", "--trace", str(trace), *(["--small"] if small else [])]
    limit = 300 if small else 60  # a CPU compiles more slowly, and nobody hurries it
    for recipe in STEPS:
        for precision in PRECISIONS:
            yield (
                f"{recipe} in {precision}",
                ([*alone, "--be", "steps", recipe, precision], limit),
            )
    yield "trace", ([*alone, "--be", "trace", STEPS[-1], PRECISIONS[0]], limit)


def check(parts: dict[str, Command], folder: Path, small: bool) -> dict[str, Any]:
    """Run parts one after the other; what they found."""
    began, before, found = time.monotonic(), conditions(), {}
    for name, (words, limit) in parts.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name] = part(words, limit, folder / f"{name}.json")
    return {
        "of": {"size": "small" if small else "whole", "versions": versions(PEERS)},
        "conditions": before,
        "seconds": round(time.monotonic() - began, 1),
        "parts": found,
    }


def part(words: list[str], limit: float, file: Path) -> dict[str, Any]:
    """One part: whether it went well, and what it found: in a file, or as its last line."""
    # PyTorch needs memory beside JAX
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said = process.communicate(timeout=limit)[0]
        well = process.returncode == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said = f"{process.communicate()[0]}\nended after {limit:g} s"
        well = False
    seconds = round(time.monotonic() - began, 1)
    record = {"well": well, "seconds": seconds, "found": _found(file, said if well else "")}
    return record if well else {**record, "said": said[-SAID:]}


def _found(file: Path, said: str) -> Any:
    """What the file has, half of what was wanted perhaps; else the last line."""
    if file.exists():
        return from_json(file.read_bytes())
    last = (said.splitlines() or [""])[-1]
    return from_json(last) if last.startswith("{") else last or None


# --- in a process of its own ----------------------------------------------------------------------


def steps(kind: str, recipe: str, precision: str, small: bool, folder: Path) -> dict[str, Any]:
    """Steps of a recipe in a precision: how long one takes, what it came to, and the most memory.

    Of the kind "trace" they are traced as well.
    """
    config = resolve(recipe, {"train.precision": precision, **(SMALL if small else {})})
    ours = OurSteps(config, random_pictures(config))
    ours.take(AT_ONCE)
    if kind == "trace":
        with jax.profiler.trace(folder):
            jax.block_until_ready(ours.take(AT_ONCE))
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {"files": [str(path) for path in files], "bytes": _bytes(files)}
    taken = [timed(lambda: ours.take(AT_ONCE)) for _ in range(3 if small else 25)]
    records = [record for record, _ in taken]
    return {
        "milliseconds": milliseconds([seconds / AT_ONCE for _, seconds in taken]),
        "loss": float(np.mean([np.mean(record["loss"]) for record in records])),
        "converged": float(np.mean([np.mean(record["dual_converged"]) for record in records])),
        **memory(),
    }


def _bytes(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def memory() -> dict[str, Any]:
    """The most that was in use on the device; where it does not say, of the process."""
    known = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in known:
        return {"peak_bytes": known["peak_bytes_in_use"], "peak_of": "device"}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"peak_bytes": int(peak_bytes(usage)), "peak_of": "process"}


if __name__ == "__main__":
    ending(main)

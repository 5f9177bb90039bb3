"""Train experiments for the same wall-clock, each seed in a folder of its own, and print one table of scores.

    python scripts/compare_families.py grid  --seconds 120 --seeds 0 1 2 --out runs/grid
    python scripts/compare_families.py mnist --seconds 600 --seeds 0     --out runs/mnist

Finished runs in --out are not run again. `grid` prints what every run's summary says; `mnist` gives all families the same MLP generator
and judges 2,000 samples against 2,000 test digits by exact W1 and W2 (Euclidean distance of pixels in [-1, 1]), beside what 2,000
training digits get. Seconds are of training, without compilation. Other experiments can be named after the table's name.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from otgan import data, experiments
from otgan.metrics.wasserstein import exact_wasserstein
from otgan.runs import RunFolder

JUDGED = 2_000
GRID = ["sinkhorn-grid", "relaxed-grid", "regot-grid", "regot-l2-grid", "semidiscrete-grid", "convex-grid", "neural-grid"]
GRID += ["ot-gan-grid", "wgan-gp-grid"]
MNIST = ["sinkhorn-mnist", "regot-mnist", "semidiscrete-mnist", "convex-mnist", "neural-mnist", "ot-gan-mnist", "wgan-gp-mnist"]
SAME_GENERATOR = {"generator.kind": "mlp", "generator.width": 512, "generator.depth": 3, "generator.normalization": "none"}
LONG = {
    "train.steps": 1_000_000,
    "generator.optimizer.schedule": "constant",
}  # the clock ends the run, so no schedule may wait for its last step


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["grid", "mnist"])
    parser.add_argument("experiments", nargs="*", help="instead of the table's own")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    names = args.experiments or {"grid": GRID, "mnist": MNIST}[args.table]
    changes = {"grid": {}, "mnist": SAME_GENERATOR | LONG}[args.table]
    judge = {"grid": judge_grid, "mnist": judge_mnist}[args.table]
    rows = []
    for name in names:
        folders = [train(name, args.seconds, seed, changes, args.out / f"{name}-{seed}") for seed in args.seeds]
        rows.append((name, [judge(folder) for folder in folders]))
    if args.table == "mnist":
        rows.append(("training digits", [floor_mnist()]))
    print(markdown(rows))


def train(name: str, seconds: float, seed: int, changes: dict, path: Path) -> RunFolder:
    """Run `otgan run`, unless it was run to its end."""
    folder = RunFolder(path)
    if not (path / "status.json").is_file() or folder.read_status()["state"] in ("running", "interrupted"):
        words = [word for key, value in changes.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        command = [sys.executable, "-m", "otgan", "run", name, "--seconds", str(seconds), "--seed", str(seed), "--out", str(path), *words]
        path.parent.mkdir(parents=True, exist_ok=True)
        print(" ".join(command[1:]), file=sys.stderr, flush=True)
        subprocess.run([*command, "--quiet"], check=False, stdout=subprocess.DEVNULL)
    return folder


def judge_grid(folder: RunFolder) -> dict[str, float]:
    """What the summary says."""
    status = folder.read_status()
    summary = status["summary"]
    return {
        "modes": summary["modes"],
        "within 3 sd, %": 100 * summary["high_quality"],
        "W2 / floor": summary["w2"] / summary["w2_floor"],
        "dual reached epsilon, %": 100 * summary["converged_share"],
        **_budget(status),
    }


def judge_mnist(folder: RunFolder) -> dict[str, float]:
    """Exact distances of samples to test digits."""
    from otgan.sampling import sample

    digits = data.load(experiments.resolve(str(folder.config_path)).data)
    status = folder.read_status()
    share = 100 * status["summary"]["converged_share"]
    return {**_distances(sample(folder, JUDGED, 0), digits.test), "dual reached epsilon, %": share, **_budget(status)}


def floor_mnist() -> dict[str, float]:
    """What real digits get."""
    digits = data.load(experiments.resolve("sinkhorn-mnist").data)
    return _distances(digits.train[:JUDGED], digits.test)


def _distances(samples: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    x, y = (part[:JUDGED].reshape(JUDGED, -1) / 127.5 - 1 for part in (samples, reference))
    return {"W1": exact_wasserstein(x, y, 1), "W2": exact_wasserstein(x, y, 2)}


def _budget(status: dict) -> dict[str, float]:
    summary = status["summary"]
    counts = {name.replace("_", " "): summary[name] for name in ("generator_steps", "dual_iterations", "examples")}
    return {"seconds": status["seconds"], **counts}


def markdown(rows: list[tuple[str, list[dict[str, float]]]]) -> str:
    """A table: means over the seeds, and their range where there are several."""
    columns = list(rows[0][1][0])
    lines = ["| experiment | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, scores in rows:
        cells = [_cell([score[column] for score in scores if column in score]) for column in columns]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    shown = [
        f"{value:,.0f}" if value >= 1000 or float(value).is_integer() else f"{value:.3g}"
        for value in (np.mean(values), min(values), max(values))
    ]
    return shown[0] if len(values) == 1 or min(values) == max(values) else f"{shown[0]} ({shown[1]} - {shown[2]})"


if __name__ == "__main__":
    main()

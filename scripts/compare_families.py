"""Train experiments for the same wall-clock, each seed in a folder of its own, and print one table
of scores.

    python scripts/compare_families.py grid    --seconds 120 --seeds 0 1 2 --out runs/grid
    python scripts/compare_families.py mnist   --seconds 600 --seeds 0     --out runs/mnist
    python scripts/compare_families.py cifar10 --seconds 600 --seeds 0     --out runs/cifar10

Finished runs in --out are not run again. A run ends with its experiment's last step or with its
seconds of training, which leave out compilation. `grid` prints what every run's summary says; the
others what `otgan eval` says, by a network that no family trains on, and exact W1 and W2 in pixels,
each column with what as many real pictures get. Other experiments can be named after the table's
name.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from otgan.files import Plain
from otgan.results.aggregate import compare, numbers
from otgan.results.quantities import RATIO, SHARE, TOTALS
from otgan.results.run import Run, read_run
from otgan.results.scores import read_scores, side_by_side
from otgan.results.state import RunState, state_of
from otgan.runs import RunFolder

OTGAN = [sys.executable, "-m", "otgan"]
JUDGE = {"mnist": "mnist-allconv", "cifar10": "cifar10-allconv"}
SCORES = ["fid", "precision", "recall", "coverage"]  # in the judge's features
DISTANCES = {"w1": "W1", "w2": "W2"}  # in pixels
GRID = [
    "sinkhorn-grid",
    "relaxed-grid",
    "regot-grid",
    "regot-l2-grid",
    "semidiscrete-grid",
    "convex-grid",
    "neural-grid",
]
GRID += ["ot-gan-grid", "wgan-gp-grid"]
MNIST = [
    "feature-mnist",
    "sinkhorn-mnist",
    "regot-mnist",
    "semidiscrete-mnist",
    "convex-mnist",
    "neural-mnist",
    "drifting-mnist",
]
MNIST += ["ot-gan-mnist", "wgan-gp-mnist"]
CIFAR10 = ["feature-cifar10", "sinkhorn-cifar10", "ot-gan-cifar10", "wgan-gp-cifar10"]


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=["grid", *JUDGE])
    parser.add_argument("experiments", nargs="*", help="instead of the table's own")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    names = args.experiments or {"grid": GRID, "mnist": MNIST, "cifar10": CIFAR10}[args.table]
    judge = judge_grid if args.table == "grid" else partial(judge_pictures, judge=JUDGE[args.table])
    rows = []
    for name in names:
        folders = [
            train(name, args.seconds, seed, args.out / f"{name}-{seed}") for seed in args.seeds
        ]
        rows.append((name, [judge(folder) for folder in folders]))
    print(markdown(rows))


def train(name: str, seconds: float, seed: int, path: Path) -> RunFolder:
    """Run `otgan run`, unless it was run to its end."""
    folder = RunFolder(path)
    if state_of(folder) not in (RunState.FINISHED, RunState.DIVERGED, RunState.STOPPED):
        command = [
            *OTGAN,
            "run",
            name,
            "--seconds",
            str(seconds),
            "--seed",
            str(seed),
            "--out",
            str(path),
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        print("otgan", " ".join(command[len(OTGAN) :]), file=sys.stderr, flush=True)
        subprocess.run([*command, "--quiet"], check=False, stdout=subprocess.DEVNULL)
    return folder


def judge_grid(folder: RunFolder) -> dict[str, float]:
    """What the summary says."""
    run = read_run(folder.path)
    found = numbers(run, compare([run]))
    return {
        "modes": found["modes"],
        "within 3 sd, %": 100 * found["high_quality"],
        "W2 / floor": found[RATIO],
        **_budget(run, found),
    }


def judge_pictures(folder: RunFolder, judge: str) -> dict[str, float]:
    """What `otgan eval` says of them, each score with its floor behind it."""
    names = {
        **{f"{score}[{judge}]": score for score in SCORES},
        "fid[random]": "fid[random]",
        **DISTANCES,
    }
    scores = scored(folder)
    if not names.keys() <= scores.keys():
        for words in (
            ["--fid", "--pr", "--wasserstein", "--features", judge],
            ["--fid", "--features", "random"],
        ):
            subprocess.run(
                [*OTGAN, "eval", str(folder.path), *words], check=True, stdout=subprocess.DEVNULL
            )
        scores = scored(folder)
    run = read_run(folder.path)
    found = {
        f"{shown} (real: {scores[name]['floor']:.3g})": scores[name]["mean"]
        for name, shown in names.items()
    }
    return {**found, **_budget(run, numbers(run, compare([run])))}


def scored(folder: RunFolder) -> dict[str, Plain]:
    """The scores that a run has, by their names."""
    table = side_by_side([("it", read_scores(folder.scores))])
    return {metric: dict(row["it"]) for metric, row in table.items()}


def _budget(run: Run, found: dict[str, float]) -> dict[str, float]:
    """How exact the duals were, and what was spent."""
    spent = {name.replace("_", " "): found[name] for name in TOTALS}
    seconds = float(run.status["seconds"])
    return {"dual reached epsilon, %": 100 * found[SHARE], "seconds": seconds, **spent}


def markdown(rows: list[tuple[str, list[dict[str, float]]]]) -> str:
    """A table: means over the seeds, and their range where there are several."""
    columns = list(rows[0][1][0])
    lines = ["| experiment | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, scores in rows:
        cells = [
            _cell([score[column] for score in scores if column in score]) for column in columns
        ]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    shown = [
        f"{value:,.0f}" if value >= 1000 or float(value).is_integer() else f"{value:.3g}"
        for value in (np.mean(values), min(values), max(values))
    ]
    return (
        shown[0]
        if len(values) == 1 or min(values) == max(values)
        else f"{shown[0]} ({shown[1]} - {shown[2]})"
    )


if __name__ == "__main__":
    main()

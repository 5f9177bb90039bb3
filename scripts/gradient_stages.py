"""The error of the generator's gradient against the dual's suboptimality, at three stages of one
training.

    python scripts/gradient_stages.py --experiment sinkhorn-grid --out runs/gradient

The run is stopped after its first step, half way and at its end; there `otgan diagnose` looks at
the dual that trains it (its solver, its cadence, its tau), and what it found is drawn side by side.
Further words go to `otgan run`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from otgan import experiments
from otgan.diagnosis.picture import draw_gradients

EPSILONS = "1x,0.3x,0.1x,0.03x,0.01x,0.003x,0.001x"


def main() -> None:
    """Parse, train, diagnose, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", default="sinkhorn-grid")
    parser.add_argument("--lams", default="1x,0.1x,0.01x,0.001x")
    parser.add_argument("--steps", type=int, help="of the run, instead of the experiment's own")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run, the numbers and the picture"
    )
    args, words = parser.parse_known_args()
    args.out.mkdir(parents=True, exist_ok=True)
    steps = args.steps or experiments.resolve(args.experiment).train.steps
    found = [diagnosed(args, words, count) for count in (1, steps // 2, steps)]
    (args.out / "gradient.json").write_text(json.dumps(found, indent=1))
    draw(found, args.out / "gradient.png")
    print(table(found))


def diagnosed(args: argparse.Namespace, words: list[str], steps: int) -> dict[str, Any]:
    """What `otgan diagnose` says after so many steps, which the run first takes."""
    run = args.out / "run"
    _otgan(
        "run",
        args.experiment,
        *words,
        "--generator-steps",
        str(steps),
        "--out",
        str(run),
        "--quiet",
    )
    printed = _otgan(
        "diagnose",
        str(run),
        "--lams",
        args.lams,
        "--epsilons",
        EPSILONS,
        "--batch-sizes",
        "64",
        "--batches",
        "8",
        "--json",
    )
    return json.loads(printed)


def _otgan(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "otgan", *words], check=True, capture_output=True, text=True
    ).stdout


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """One panel a stage, on common axes."""
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    for axes, stage in zip(
        figure.subplots(1, len(found), sharex=True, sharey=True), found, strict=True
    ):
        draw_gradients(axes, stage)
        axes.set_title(f"after step {stage['step']:,} (dashed: the bound)")
    figure.savefig(path, dpi=110)


def table(found: list[dict[str, Any]]) -> str:
    """For every stage and lam the slope, and how near the error comes to its bound."""
    rows = [
        "step   lam/mean  slope  largest error/bound  largest error/norm  largest misplaced mass"
    ]
    for stage in found:
        for lam, slope in zip(
            dict.fromkeys(r["lam"] for r in stage["gradients"]), stage["slopes"], strict=True
        ):
            mine = [r for r in stage["gradients"] if r["lam"] == lam and r["measured"]]
            ratio, error, misplaced = (
                max((r[k] for r in mine), default=float("nan"))
                for k in ("ratio", "error", "misplaced")
            )
            share = error / mine[0]["gradient_norm"] if mine else error
            told = "-" if slope is None else f"{slope:.2f}"
            rows.append(
                f"{stage['step']:6,} {lam / stage['mean_cost']:8.3g} {told:>6} {ratio:20.4f}"
                f" {share:19.3f} {misplaced:23.3f}"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    main()

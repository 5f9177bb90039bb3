"""Run a named experiment to its end, by its name alone, judge it, and keep what it gave for its
card.

    python scripts/measure_recipe.py sinkhorn-grid            # make reproduce RECIPE=sinkhorn-grid
    python scripts/measure_recipe.py feature-mnist --seeds 3  # mean and standard deviation

It is a sweep of seeds, in `reproduction/recipes/NAME`; stopped anywhere, the same command goes on.
What it writes is `experiments/measured/NAME.json`: commit it. `otgan show NAME` then says it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from otgan import __version__, experiments
from otgan.config import Config
from otgan.measured import Measured, Number, path_of, values_of
from otgan.named import find, names
from otgan.results.aggregate import Means, aggregate
from otgan.results.sweep import SeedGroup, read_sweep
from otgan.runs import RunFolder

HERE = Path(__file__).parent
MEASURES = {
    "mnist": "fid,pr,wasserstein",
    "stacked-mnist": "fid,pr,modes",
    "cifar10": "fid,pr,wasserstein",
}


def main() -> None:
    """Parse, train and judge, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipes", nargs="+", metavar="NAME", choices=recipes(), help="as otgan list"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="K")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at once")
    parser.add_argument("--out", type=Path, default=Path("reproduction/recipes"))
    args = parser.parse_args()
    for name in args.recipes:
        folder, config, code = args.out / name, experiments.resolve(name), commit()
        train(config, args.seeds, args.jobs, folder)
        path = path_of(experiment_of(name))
        path.parent.mkdir(exist_ok=True)
        path.write_text(measured(config, folder, code, args.jobs).model_dump_json(indent=2) + "\n")
        print(f"{path}: {experiments.resolve(name).card.measured}")


def recipes() -> list[str]:
    """Otgan's own experiments, but those that wait for somebody's data."""
    return [name for name in names() if experiments.resolve(name).rules == "none"]


def experiment_of(name: str) -> Path:
    """The file of an experiment."""
    path = find(name)
    assert path is not None  # a name is one that there is
    return path


def train(config: Config, seeds: int, jobs: int, folder: Path) -> None:
    """A sweep of the seeds, judged.

    What is done already is not done again.
    """
    words = ["sweep", config.name, "--seeds", str(seeds), "--jobs", str(jobs), "--out", str(folder)]
    if measures := MEASURES.get(config.data.kind):
        words += ["--eval", measures]
    if subprocess.run([sys.executable, "-m", "otgan", *words], check=False).returncode:
        sys.exit(f"{config.name} was not run to its end; the same call goes on there")


def measured(config: Config, folder: Path, code: str, jobs: int) -> Measured:
    """What the seeds of a sweep gave, by the code of a commit."""
    found = aggregate(read_sweep(folder))
    (group,) = found.groups
    steps = [cell.step for cell in group.trained]
    return Measured(
        date=ended([RunFolder(cell.path) for cell in group.trained]),
        otgan=__version__,
        commit=code,
        where=where(group.trained[0].environment["devices"], jobs),
        seeds=tuple(sorted(cell.seed for cell in group.trained if cell.seed is not None)),
        steps=(min(steps), max(steps)),
        numbers=tuple(told(found, group)),
        values=values_of(config),
    )


def told(found: Means, group: SeedGroup) -> list[Number]:
    """The numbers of a short table, with their floors."""
    floors = dict(found.comparison.floors)
    for cell in group.trained:
        floors |= {
            name.removesuffix("_floor"): value
            for name, value in cell.summary.items()
            if name.endswith("_floor") and isinstance(value, float)
        }
    return [
        Number(name=name, mean=spread.mean, sd=spread.sd, floor=floors.get(name))
        for name in found.short(judged=bool(found.comparison.scores))
        if (spread := found.spread(group, name))
    ]


def ended(folders: list[RunFolder]) -> date:
    """When the last of some runs ended, in UTC."""
    newest = max(folder.status_path.stat().st_mtime for folder in folders)
    return datetime.fromtimestamp(newest, UTC).date()


def commit() -> str:
    """That of the code, with a `+` behind it where that was changed since; empty outside of a
    checkout.
    """
    asked = [
        ["git", "rev-parse", "HEAD"],
        ["git", "status", "--porcelain", "--", ":/otgan", ":/experiments/*.toml"],
    ]
    head, changes = (
        subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
        for words in asked
    )
    return f"{head}{'+' if head and changes else ''}"


def where(devices: list[str], jobs: int) -> str:
    """What a run had, at most: devices or, of a CPU, the cores that this process may use."""
    kinds = [f"{devices.count(kind)} {kind}" for kind in dict.fromkeys(devices)]
    if {*devices} == {"cpu"}:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        kinds = [f"{cores} CPU core{'' if cores == 1 else 's'}"]
    return f"{' and '.join(kinds)}{f', {jobs} runs at once' if jobs > 1 else ''}"


if __name__ == "__main__":
    main()

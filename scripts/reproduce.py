"""Check claims of the papers: run what shows them, and say which way it went.

    python scripts/reproduce.py C3            # or: make reproduce CLAIM=C3
    python scripts/reproduce.py               # all of them: days on two cores
    python scripts/reproduce.py C3 --short    # its direction, in two minutes, without data sets

What is run stands in `scripts/claims.toml`. Stopped anywhere, the same command goes on. The last
line says whether the result goes the way that docs/reproduction.md says; exit code 1 is no.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from otgan import places
from otgan.errors import UserError
from otgan.results.scores import read_scores, side_by_side
from otgan.runs import RunFolder

HERE = Path(__file__).parent
CLAIMS: dict[str, dict[str, Any]] = tomllib.loads((HERE / "claims.toml").read_text())
FID = "fid[{data}-allconv]"  # by the judge that no training saw
Verdict = tuple[bool, str]


def main() -> None:
    """Parse, run, read, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=", ".join(CLAIMS))
    parser.add_argument("--short", action="store_true", help="the two-minute version")
    parser.add_argument("--out", type=Path, default=Path("reproduction"))
    args = parser.parse_args()
    if unknown := [claim for claim in args.claims if claim not in CLAIMS]:
        listed = "\n".join(f"  {name}  {each['claim']}" for name, each in CLAIMS.items())
        parser.exit(2, f"there is no claim {unknown[0]}; there are\n{listed}\n")
    claims = args.claims or [*CLAIMS]
    if not args.short and (lacking := missing_data(claims)):
        parser.exit(2, f"{lacking}\n")
    agree = [
        reproduce(claim, args.out / ("short" if args.short else "whole") / claim, args.short)
        for claim in claims
    ]
    sys.exit(not all(agree))


def missing_data(claims: list[str]) -> str:
    """Which data set is not there that the claims need, and which claims do without."""
    for kind in dict.fromkeys(kind for claim in claims for kind in CLAIMS[claim].get("data", ())):
        try:
            places.require(kind)
        except UserError as error:
            without = ", ".join(name for name, claim in CLAIMS.items() if "data" not in claim)
            return f"{error}\n{without} need no data set, and with --short no claim does"
    return ""


def reproduce(name: str, out: Path, short: bool) -> bool:
    """Run a claim's commands, those that are not done, and say whether it went as expected."""
    claim = CLAIMS[name]
    print(f"{name}: {claim['claim']} ({claim['source']})", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for command in claim["short" if short else "commands"]:
        run(command, out)
    as_expected, found = JUDGES[name](out)
    word = "as docs/reproduction.md says" if as_expected else "NOT as docs/reproduction.md says"
    print(f"{name}: {found}: {word} ({time.monotonic() - began:.0f} s)", flush=True)
    return as_expected


def run(command: str, out: Path) -> None:
    """One command, unless it is done; what was stopped goes on by itself.

    A sweep or a run may end with a cell that diverged (exit code 1): that is a result.
    """
    done = out / "done.txt"
    if done.is_file() and command in done.read_text().splitlines():
        return
    program, *words = [word.format(out=out) for word in command.split()]
    print(f"  {shlex.join([program, *words])}", flush=True)
    called = ["-m", "otgan"] if program == "otgan" else [str(HERE.parent / program)]
    code = subprocess.run(
        [sys.executable, *called, *words], check=False, stdout=subprocess.DEVNULL
    ).returncode
    if code and (code, program, words[0]) not in ((1, "otgan", "sweep"), (1, "otgan", "run")):
        sys.exit(f"that ended with exit code {code}; the same call of reproduce goes on there")
    with done.open("a") as file:
        file.write(f"{command}\n")


# --- what was found -------------------------------------------------------------------------------


def cells(sweep: Path, *axes: str) -> dict[tuple[str, ...], dict[str, float]]:
    """The numbers of a sweep's cells by their values on some axes: means over the seeds."""
    words = [sys.executable, "-m", "otgan", "report", str(sweep), "--json"]
    told = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    groups = defaultdict(list)
    for cell in told["cells"]:
        scores = {score["metric"]: score["mean"] for score in cell["scores"]}
        groups[tuple(str(cell["values"][axis]) for axis in axes)].append(cell["numbers"] | scores)
    return {
        values: {name: mean(one[name] for one in found if name in one) for name in found[0]}
        for values, found in groups.items()
    }


def score(runs: Path, name: str, metric: str) -> float:
    """A score of an experiment's runs that were judged: the mean over the seeds."""
    tables = [
        side_by_side([("it", read_scores(RunFolder(run).scores))]) for run in runs.glob(f"{name}-*")
    ]
    return mean(float(dict(dict(table[metric])["it"])["mean"]) for table in tables)


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV."""
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def gradient_error(out: Path) -> Verdict:
    """C1: on the grid, where lam is small enough to tell a slope, it is near 1/2; the bound holds
    wherever it was measured.
    """
    found = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/gradient.json")}
    slopes = [slope_at(stage, 0.01) for stage in found["grid"]]
    worst = max(
        row["ratio"]
        for stages in found.values()
        for stage in stages
        for row in stage["gradients"]
        if row["measured"]
    )
    return (
        worst <= 1 and all(0.3 < slope < 0.7 for slope in slopes),
        f"slopes {', '.join(f'{slope:.2f}' for slope in slopes)} on the grid at a lam of 0.01x; the"
        f" error is at most {worst:.2g} of its bound, on {' and '.join(sorted(found))}",
    )


def slope_at(stage: dict[str, Any], share: float) -> float:
    """A stage's slope at the lam nearest to a share of the mean cost."""
    lams = dict.fromkeys(row["lam"] for row in stage["gradients"])
    found = dict(zip(lams, stage["slopes"], strict=True))
    nearest = min(found, key=lambda lam: abs(lam / stage["mean_cost"] - share))
    return float("nan") if found[nearest] is None else found[nearest]


def floors(out: Path) -> Verdict:
    """C2: the loose dual's norm stops above the tight one's."""
    found = rows(out / "adam" / "stationarity.csv")
    most = max(int(row["steps"]) for row in found)
    ends = {
        epsilon: [
            float(r["squared_norm"])
            for r in found
            if r["epsilon"] == epsilon and int(r["steps"]) == most
        ]
        for epsilon in ("0.3x", "0.003x")
    }
    loose, tight = (sum(values) / len(values) for values in ends.values())
    return (
        tight < loose / 2,
        f"squared norms after {most} steps: {loose:.3g} at 0.3x, {tight:.3g} at 0.003x",
    )


def bias(out: Path) -> Verdict:
    """C3: at a lam of a sixth of the mean cost the plain distance has collapsed, and the Sinkhorn
    loss has not.
    """
    found = cells(out / "grid", "oracle.loss", "oracle.lam")
    plain, sinkhorn = (found[loss, "5"]["modes"] for loss in ("regot", "sinkhorn"))
    return (
        plain <= sinkhorn / 3 and sinkhorn >= 20,
        f"at lam = 5 d has {plain:.0f} modes of 25, the Sinkhorn loss {sinkhorn:.0f}",
    )


def against(measure: str, ours: str, theirs: str) -> Callable[[Path], Verdict]:
    """C4, C5, C6: one family's score below another's, on every data set that was tried."""

    def judge(out: Path) -> Verdict:
        found = {
            runs.name: [
                score(runs, f"{family}-{runs.name}", measure.format(data=runs.name))
                for family in (ours, theirs)
            ]
            for runs in sorted(out.iterdir())
            if runs.is_dir()
        }
        told = [f"{a:.3g} against {b:.3g} on {name}" for name, (a, b) in found.items()]
        metric = measure.partition("[")[0]
        return (
            all(a < b for a, b in found.values()),
            f"{metric} of {ours} and {theirs}: {', '.join(told)}",
        )

    return judge


def map_errors(out: Path) -> Verdict:
    """C7: with many points the potential's map is nearer than an entropic one, by far."""
    found = rows(out / "map_error.csv")
    most = max(int(row["points"]) for row in found)
    last = {row["method"]: float(row["error"]) for row in found if int(row["points"]) == most}
    convex = last.pop("convex")
    return convex < min(last.values()), (
        f"with {most} points {convex:.2f} % of the variance, entropic maps "
        + ", ".join(f"{error:.2f}" for error in last.values())
    )


def drag(out: Path) -> Verdict:
    """C8: tight is worse where the marginals are exact, good where the generated side is free."""
    found = cells(out / "grid", "oracle.tau", "oracle.epsilon")
    shares = [
        found[tau, epsilon]["high_quality"]
        for tau, epsilon in (("inf", "0.3x"), ("inf", "0.01x"), ("0.03x", "0.01x"))
    ]
    loose, tight, relaxed = shares
    return tight < loose and tight < relaxed, (
        f"within 3 sd {loose:.0%} with a loose dual, {tight:.0%} with a tight one, {relaxed:.0%}"
        " with a tight semi-relaxed one"
    )


def exactness(out: Path) -> Verdict:
    """C9: a hundred times tighter changes little."""
    found = cells(out / "certified", "oracle.epsilon")
    loose, tight = (found[epsilon,][FID.format(data="mnist")] for epsilon in ("0.3x", "0.003x"))
    return tight > loose / 1.5, f"fid {loose:.3g} at 0.3x, {tight:.3g} at 0.003x"


JUDGES: dict[str, Callable[[Path], Verdict]] = {
    "C1": gradient_error,
    "C2": floors,
    "C3": bias,
    "C4": against(FID, "feature", "wgan-gp"),
    "C5": against(FID, "feature", "sinkhorn"),
    "C6": against("w1", "semidiscrete", "wgan-gp"),
    "C7": map_errors,
    "C8": drag,
    "C9": exactness,
}


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the same call goes on there")

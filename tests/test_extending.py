"""docs/extending.md, followed to the letter in a copy of the package."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY

pytestmark = pytest.mark.slow

PAGE = (REPOSITORY / "docs/extending.md").read_text()
BLOCKS = re.findall(r"^```(python|diff|toml)\n# (\S+)\n(.*?)^```$", PAGE, flags=re.M | re.S)


MEANING = "last window's largest squared W2 along a direction, units of the cost"


def apply_diff(text, diff):
    """Replace each run of `-` lines by the `+` lines that follow it; it must be there exactly
    once.
    """
    for removed, added in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", diff, flags=re.M):
        old, new = (re.sub(r"^.", "", part, flags=re.M) for part in (removed, added))
        assert text.count(old) == 1, f"the page's {old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


@pytest.fixture
def copy(tmp_path):
    for folder in ("otgan", "experiments"):
        shutil.copytree(
            REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for kind, name, text in BLOCKS:
        path = tmp_path / name
        path.write_text(apply_diff(path.read_text(), text) if kind == "diff" else text)
    return tmp_path


def otgan(copy, *words):
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    code = (
        "import otgan, sys; print(otgan.__file__, file=sys.stderr); from otgan.cli import main;"
        " main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=copy,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert str(copy) in done.stderr
    return done


def test_the_pages_family_runs_resumes_and_refuses(copy):
    assert "sliced-grid" in otgan(copy, "list").stdout
    words = [
        "--set",
        "generator.width=32",
        "--set",
        "generator.optimizer.warmup=0",
        "--steps",
        300,
        "--out",
        "run",
        "--quiet",
    ]
    done = otgan(copy, "run", "sliced-grid", *words)
    assert done.returncode == 0, done.stderr
    (shown,) = (line.split() for line in done.stdout.splitlines() if MEANING in line)
    worst = json.loads((copy / "run/status.json").read_text())["summary"]["worst_slice"]
    assert shown[:2] == ["worst_slice", f"{worst:.4g}"]
    assert otgan(copy, "run", "run").returncode == 0
    losses = [
        json.loads(line)["loss"] for line in (copy / "run/metrics.jsonl").read_text().splitlines()
    ]
    assert losses[-1] < 0.2 * losses[0]
    refused = otgan(copy, "run", "sliced-grid", "--cost", "l1")
    assert refused.returncode == 2
    assert (
        "family 'sliced' serves the cost 'squared_l2'; the cost 'l1' is served by 'regularized'"
        in refused.stderr
    )


SHORT = [
    "--set",
    "generator.width=8",
    "--set",
    "train.pictures=1",
    "--set",
    "data.size=2000",
    "--steps",
    6,
    "--batch-size",
    32,
]


def test_the_families_own_number_is_shown_everywhere(copy):
    """In a sweep's table, a page, CSV and JSON, as in the summary above, though none of these was
    told of it.
    """
    done = otgan(
        copy,
        "sweep",
        "sliced-grid",
        *SHORT,
        "--set",
        "oracle.directions=2,4",
        "--out",
        "s",
        "--jobs",
        2,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    words = [line.split() for line in done.stdout.splitlines()]
    place = next(i for i, line in enumerate(words) if line[:1] == ["directions"])
    assert "worst_slice" in words[place]
    assert [line[0] for line in words[place + 1 : place + 3]] == ["2", "4"]
    cell = next(path for path in (copy / "s/cells").iterdir() if path.is_dir())
    worst = json.loads((cell / "status.json").read_text())["summary"]["worst_slice"]
    here = Path(cell).relative_to(copy)
    # from here on nobody knows the family: its folder says what its number is
    shutil.rmtree(copy / "otgan")
    shutil.copytree(
        REPOSITORY / "otgan", copy / "otgan", ignore=shutil.ignore_patterns("__pycache__")
    )
    (copy / "experiments/sliced-grid.toml").unlink()
    told = json.loads(otgan(copy, "report", here, "--json").stdout)
    assert told["runs"][0]["numbers"]["worst_slice"] == worst
    assert told["columns"]["worst_slice"]["better"] == "lower"
    (row,) = csv.DictReader(io.StringIO(otgan(copy, "report", here, "--csv").stdout))
    assert float(row["worst_slice"]) == worst
    assert otgan(copy, "report", "s", "-o", "s.html").returncode == 0
    assert "worst_slice (lower is better)" in (copy / "s.html").read_text()
    assert otgan(copy, "report", here, "-o", "r.html").returncode == 0
    assert MEANING.replace("'", "&#39;") in (copy / "r.html").read_text()


def test_the_pages_experiment_resolves_by_its_path(copy):
    done = otgan(copy, "run", "mine.toml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["oracle"]["lam"] == "0.1x"

"""What version 0.1.0 wrote is read as it read it itself: two runs, one judged while training and
one by `eval`, and a sweep of 2 x 2 cells.

`tests/fixtures/folders` holds the folders without checkpoints and pictures, and what that version's
`report --json`, `scores --json` and `sweep` said of them. A number may be added to theirs; none may
be lost or changed.
"""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from tests.support import REPOSITORY
from tests.support.commands import otgan
from tests.support.folders import sweep_states, sweep_table

FOLDERS = REPOSITORY / "tests/fixtures/folders"
TOLD = json.loads((FOLDERS / "told.json").read_text())


@pytest.fixture(autouse=True)
def copied(tmp_path, monkeypatch):
    """A copy to work beside, so that paths are short and nothing is written into the repository."""
    shutil.copytree(FOLDERS, tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")


def within(old, new):
    """Whether all that was said is said again; a table may hold more."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            key in new and within(value, new[key]) for key, value in old.items()
        )
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(map(within, old, new))
    return old == (pytest.approx(new) if isinstance(new, float) else new)


@pytest.mark.parametrize(
    "folders", [("grid",), ("mnist",), ("grid", "mnist"), ("sweep",)], ids="+".join
)
def test_a_report_says_what_it_said(folders):
    told = json.loads(otgan("report", *folders, "--json").output)
    assert within(TOLD["report"]["+".join(folders)], told)
    rows = list(csv.DictReader(io.StringIO(otgan("report", *folders, "--csv").output)))
    of = told.get("cells") or told["runs"]
    assert [row["state"] for row in rows] == [one["state"] for one in of]
    for row, one in zip(rows, of, strict=True):
        assert {name: float(row[name]) for name in one["numbers"]} == one["numbers"]


@pytest.mark.parametrize("folder", ["grid", "mnist", "sweep"])
def test_a_page_has_its_words(folder):
    assert otgan("report", folder).exit_code == 0
    page = Path("report.html").read_text()
    assert "What could not be read" not in page
    for words in TOLD["page"][folder]:
        assert words in page


@pytest.mark.parametrize("folder", ["grid", "mnist"])
def test_scores_are_what_they_were(folder):
    assert json.loads(otgan("scores", folder, "--json").output) == TOLD["scores"][folder]


def test_a_sweep_has_its_states_and_its_table():
    assert sweep_states("sweep") == TOLD["states"]
    assert within(TOLD["table"], sweep_table("sweep"))

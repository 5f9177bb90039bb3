"""What docs/security.md says of files from somebody else, line by line."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from otgan.errors import UserError
from otgan.runs import RunFolder
from tests.support import REPOSITORY
from tests.support.commands import SMALL, otgan
from tests.support.made_sweeps import grid, recorded, say

FOLDERS = REPOSITORY / "tests/fixtures/folders"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"
EVIL = f"{MARKUP}\x1b[2J\x1b]0;title\x07"


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A run whose every word is evil."""
    path = shutil.copytree(FOLDERS / "grid", tmp_path / "grid")
    monkeypatch.chdir(tmp_path)
    for name, change in {
        "config.json": lambda it: it["card"].update(title=MARKUP, note=MARKUP, expect=MARKUP),
        "status.json": lambda it: it.update(reason=EVIL, state="stopped"),
        "environment.json": lambda it: it.update(host=EVIL, platform=EVIL),
    }.items():
        table = json.loads((path / name).read_text())
        change(table)
        (path / name).write_text(json.dumps(table))
    scores = path / "eval/scores.jsonl"
    line = json.loads(scores.read_text().splitlines()[0])
    with scores.open("a") as lines:
        lines.write(json.dumps({**line, "metric": EVIL, "meaning": EVIL, "subject": EVIL}) + "\n")
    return path


class Touches:
    """What makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_arrays_run_no_pickle(tmp_path, suffix):
    marker, path = tmp_path / "marker", tmp_path / f"evil{suffix}"
    evil = np.array([Touches(marker)], dtype=object)
    np.savez(path, x=evil) if suffix == ".npz" else np.save(path, evil)
    for words in (
        ["run", "points", "--data", path, "--dry-run"],
        ["suggest", path],
        ["eval", path, "--reference", "grid"],
    ):
        done = otgan(*words)
        assert done.exit_code == 2, done.output
        assert not marker.exists()
    pickle.loads(pickle.dumps(Touches(marker)))  # the test's own pickle does what it should
    assert marker.exists()


def test_a_page_shows_what_it_should_not_run(foreign):
    assert otgan("report", foreign).exit_code == 0
    page = Path("report.html").read_text()
    assert "alert(1)" in page  # it is shown
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert 'src="http' not in page  # nothing is loaded from elsewhere


@pytest.mark.parametrize(
    "words",
    [("show", "{}/config.json"), ("scores", "{}"), ("report", "{}"), ("eval", "{}", "--pr")],
)
def test_a_terminal_gets_no_control_codes(foreign, words):
    output = otgan(*(word.format(foreign) for word in words)).output
    assert "\x1b" not in output
    assert "\x07" not in output


def test_a_card_with_control_codes_is_refused_without_printing_them(foreign):
    table = json.loads((foreign / "config.json").read_text())
    for change in ({"card": {"title": EVIL}}, {EVIL: 1}, {"oracle": {"lam": EVIL}}):
        (foreign / "config.json").write_text(json.dumps({**table, **change}))
        done = otgan("show", foreign / "config.json")
        assert done.exit_code == 2
        assert "\x1b" not in done.output
        assert "\x07" not in done.output


@pytest.mark.parametrize("place", ["metrics.jsonl", "eval", "samples", "eval/scores.jsonl"])
def test_a_link_in_a_run_is_written_through_by_nobody(foreign, tmp_path, place):
    outside = tmp_path / "outside"
    source = foreign / place
    (foreign / "samples").mkdir(exist_ok=True)
    shutil.move(source, outside)
    source.symlink_to(outside)
    before = sorted((path, path.stat().st_mtime_ns) for path in [outside, *outside.rglob("*")])
    with pytest.raises(UserError, match="is a link: a run's files must lie in its own folder"):
        RunFolder(foreign).require_own()
    for words in (["run", foreign], ["eval", foreign, "--modes"]):
        done = otgan(*words)
        assert done.exit_code == 2
    assert "is a link" in done.output
    assert before == sorted(
        (path, path.stat().st_mtime_ns) for path in [outside, *outside.rglob("*")]
    )


def told(folder):
    return sorted((path, path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")])


def test_a_link_in_a_sweep_is_gone_through_by_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "s"
    words = ["sweep", "sinkhorn-grid", *SMALL, "--batch-size", 32, "--steps", 10]
    words += ["--lam", "0.05,0.5", "--out", sweep]
    plan = grid((0.05, 0.5), **{"data.side": 2, "data.size": 2000, "batch.size": 32})
    root = recorded(sweep, plan)
    first = root.folder(plan.cells[0].id)
    for cell in plan.cells:
        say(root, cell)
    outside = tmp_path / "outside"
    for place in (first.path, sweep / "cells", first.log, sweep / "sweep.json"):
        if place == first.log:
            place.write_text("mine\n")
        shutil.move(place, outside)
        place.symlink_to(outside)
        before = told(outside)
        for command in (words, [*words, "--dry-run"]):
            done = otgan(*command)
            assert (done.exit_code, done.exception.__class__) == (2, SystemExit), done.output
            assert "is a link: a" in done.output
            assert "must lie in its own folder" in done.output
        if place in (first.path, sweep / "cells"):
            for command in (["run", first.path], ["eval", first.path, "--modes"]):
                done = otgan(*command)
                assert done.exit_code == 2
                assert "is a link: a sweep's cells must lie in its own folder" in done.output
        if place != sweep / "sweep.json":
            shown = json.loads(otgan("report", sweep, "--json").stdout)
            assert "left out" in str(shown)
            left = [] if place.name == "cells" else [{"oracle.lam": "0.5"}]
            assert [cell["values"] for cell in shown["cells"]] == left
        assert told(outside) == before
        place.unlink()
        shutil.move(outside, place)
    assert "0 of 2 cells would run" in otgan(*words, "--dry-run").output
    assert len(json.loads(otgan("report", sweep, "--json").stdout)["cells"]) == 2


def test_what_is_repeated_in_a_hint_is_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    again = RunFolder(Path("runs/$(touch marker); echo 'x'")).again
    assert again == """otgan run 'runs/$(touch marker); echo '"'"'x'"'"''"""

"""Run folders in any state become plain data; what cannot be read is named."""

import json

import pytest

from otgan.errors import UserError
from otgan.files import number
from otgan.report.numbers import as_json, of_runs
from otgan.report.page import render
from otgan.report.recipe import compared
from otgan.results.run import read_run
from tests.support.reports import SUMMARY, line, run_folder, score, write_lines


def test_a_finished_run_is_read_whole(tmp_path):
    run = read_run(run_folder(tmp_path / "r", scores=[score(3.0)]).path)
    assert (run.name, run.state, run.step, run.gap_kind, run.problems) == (
        "sinkhorn-grid",
        "finished",
        40,
        "certified",
        [],
    )
    assert [line["step"] for line in run.lines] == [10, 20, 30, 40]
    assert [(drawn.kind, drawn.step) for drawn in run.pictures] == [("step", 20), ("step", 40)]
    assert run.summary["w2"] == SUMMARY["w2"]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="neither a run nor a sweep"):
        read_run(tmp_path)


def test_half_a_line_is_left_out_and_counted(tmp_path):
    folder = run_folder(tmp_path / "r")
    with folder.metrics.open("a") as lines:
        lines.write('{"step": 50, "lo')
    run = read_run(folder.path)
    assert len(run.lines) == 4
    assert run.problems == ["metrics.jsonl: 1 of 5 lines could not be read"]


def test_who_holds_the_lock_is_running_and_who_let_go_without_a_word_has_failed(tmp_path):
    folder = run_folder(tmp_path / "r", state="running")
    assert read_run(folder.path).state == "failed"
    assert "its process is gone and left no word; go on with: otgan run" in render(
        [read_run(folder.path)]
    )
    with folder.locked():
        assert read_run(folder.path).state == "running"


def test_a_run_that_was_only_recorded_has_not_begun(tmp_path):
    folder = run_folder(tmp_path / "r")
    (folder.path / "status.json").unlink()
    assert read_run(folder.path).state == "missing"


def test_a_newer_version_and_its_keys_are_named(tmp_path):
    folder = run_folder(tmp_path / "r")
    config = folder.read_config()
    config["oracle"]["warp"] = 9
    folder.config_path.write_text(json.dumps(config))
    (folder.path / "environment.json").write_text(json.dumps({"versions": {"otgan": "99.2"}}))
    newer, unknown = read_run(folder.path).problems
    assert "otgan 99.2, newer than this one" in newer
    assert "unknown key oracle.warp" in unknown
    assert ("oracle.warp", "9", "") in compared(read_run(folder.path))


def test_values_other_than_the_experiments_are_marked(tmp_path):
    run = read_run(
        run_folder(tmp_path / "r", overrides={"oracle.lam": 0.7, "train.steps": 12}).path
    )
    marked = {
        value.key: (value.value, value.usual) for value in compared(run) if value.usual is not None
    }
    assert marked == {"oracle.lam": ("0.7", "0.05"), "train.steps": ("12", "6500")}
    assert len(compared(run)) > 40


def test_scores_of_another_making_are_left_out_and_counted(tmp_path):
    folder = run_folder(tmp_path / "r")
    write_lines(folder.scores, [score(3.0), {"metric": "fid[x]"}, {**score(1.0), "mean": "good"}])
    run = read_run(folder.path)
    assert [s["mean"] for s in run.scores] == [3.0]
    assert run.problems == ["scores.jsonl: 2 of 3 lines could not be read"]


@pytest.mark.parametrize("value", [True, 3, 2.5])
def test_numbers_are_numbers(value):
    assert number(value) == float(value)


@pytest.mark.parametrize("value", [None, "3", [1], float("nan"), float("inf"), 10**400])
def test_what_is_no_number_is_none(value):
    assert number(value) is None


GARBAGE = [
    b"",
    b"{",
    b"[1]",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"state": 7, "step": "x", "summary": [], "name": {}, "oracle": 3}',
]
FILES = [
    "config.json",
    "environment.json",
    "status.json",
    "metrics.jsonl",
    "eval/scores.jsonl",
    "samples/step-0000040.png",
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_any_file_leaves_a_page_of_the_rest(tmp_path, file, garbage):
    folder = run_folder(tmp_path / "r", scores=[score(3.0)])
    (folder.path / file).write_bytes(garbage)
    run = read_run(folder.path)
    sound = (file.endswith("jsonl") and not garbage) or (
        file in ("environment.json", "status.json") and garbage == GARBAGE[-1]
    )
    assert ("What could not be read" in render([run])) != sound
    json.loads(as_json(of_runs([run])))


def test_a_run_of_a_hand_that_slipped_is_shown(tmp_path):
    odd = [
        line(10),
        line(20, loss="high", dual_gap=None, dual_converged=[]),
        line(30, steps=-4, epsilon=float("nan")),
    ]
    summary = {"w2": "small", "w2_floor": 0.0, "loss": float("inf"), "modes": 25}
    folder = run_folder(
        tmp_path / "r", lines=odd, summary=summary, scores=[{**score(3.0), "floor": float("nan")}]
    )
    run = read_run(folder.path)
    assert json.loads(as_json(of_runs([run])))["runs"][0]["numbers"] == {"fid[x]": 3.0, "modes": 25}
    assert "modes" in render([run])


def test_a_run_that_went_further_says_so(tmp_path):
    folder = run_folder(tmp_path / "run")
    first = {"train.steps": 40, "train.seconds": None, "train.generator_steps": None}
    folder.write_environment({"budgets": first})
    assert "went further" not in render([read_run(folder.path)])
    folder.write_environment({"budgets": {**first, "train.steps": 60}}, begun=True)
    assert read_run(folder.path).raised == ["train.steps (40 there, 60 now)"]
    assert "begun for less, and went further: train.steps (40 there" in render(
        [read_run(folder.path)]
    )
    folder.write_environment({"budgets": {"train.steps": "60"}}, begun=True)  # by hand
    assert read_run(folder.path).raised == []


def test_a_score_without_a_number_is_no_line_that_could_not_be_read(tmp_path):
    lines = [score(3.0), score(float("nan"), metric="mode_width")]
    run = read_run(run_folder(tmp_path / "r", scores=lines).path)
    assert [line["metric"] for line in run.scores] == ["fid[x]"]
    assert run.problems == []
    broken = {**score(float("nan")), "protocol": None}
    assert read_run(run_folder(tmp_path / "b", scores=[broken]).path).problems

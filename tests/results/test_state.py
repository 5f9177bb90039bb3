"""A folder is in one state, whoever asks."""

import json

import pytest

from otgan.report.command import read
from otgan.report.page import render
from otgan.results.judged import note_judged
from otgan.results.state import STANDINGS, RunState, state_of
from otgan.results.sweep import Sweep, groups
from otgan.runs import RunFolder
from otgan.sweep.folder import SweepFolder
from tests.support.commands import otgan
from tests.support.reports import end, run_folder, sweep_folder

RECORDED = ["finished", "failed", "diverged", "stopped", "interrupted"]


def test_every_state_has_its_own_word_and_only_the_finished_one_succeeds():
    assert len({state.word for state in RunState}) == len(RunState)
    assert {state: state.exit_code for state in RunState if not state.exit_code} == {
        RunState.FINISHED: 0
    }
    # what is recorded is the bare word
    assert json.loads(json.dumps([*RunState])) == [state.value for state in RunState]
    assert {state.standing for state in RunState} == set(STANDINGS)


@pytest.mark.parametrize("said", RECORDED)
def test_a_run_that_ended_is_in_the_state_that_it_recorded(tmp_path, said):
    folder = run_folder(tmp_path / "r", state=said)
    assert state_of(folder) is RunState(said)
    (folder.path / "log.txt").write_text("compiled\n")
    assert state_of(folder) is RunState(said)


def test_a_run_that_did_not_say_how_it_ended(tmp_path):
    folder = run_folder(tmp_path / "r", state="running")
    with folder.locked():
        assert state_of(folder) is RunState.RUNNING
        assert state_of(folder, mine=True) is RunState.FAILED
    assert state_of(folder) is RunState.FAILED
    for text in ("{", '{"state": "warped"}', '{"state": ["finished"]}', "[]"):
        folder.status_path.write_text(text)
        assert state_of(folder) is RunState.UNKNOWN
    folder.status_path.unlink()
    assert state_of(folder) is RunState.MISSING
    folder.log.write_text("Killed\n")
    assert state_of(folder) is RunState.FAILED
    assert state_of(RunFolder(tmp_path / "nowhere")) is RunState.MISSING


def test_a_run_that_lacks_a_measure_is_unjudged(tmp_path):
    folder = run_folder(tmp_path / "r")
    note_judged(folder, ["kid"])
    assert state_of(folder, ["fid", "kid"]) is RunState.UNJUDGED
    assert state_of(folder, ["kid"]) is RunState.FINISHED
    assert state_of(folder) is RunState.FINISHED  # nobody asks for a measure
    assert state_of(run_folder(tmp_path / "d", state="diverged"), ["fid"]) is RunState.DIVERGED


def test_a_sweep_its_report_and_a_cell_say_the_same_of_one_that_lacks_a_measure(tmp_path):
    """It counts in the means of the numbers that it has."""
    (folder,) = sweep_folder(tmp_path / "s", {"oracle.lam": [0.1]}, [0], measures=["fid"]).values()
    end(folder)
    assert (
        state_of(folder) is SweepFolder(tmp_path / "s").state(folder.path.name) is RunState.UNJUDGED
    )
    sweep = read([tmp_path / "s"])
    assert isinstance(sweep, Sweep)
    assert [cell.state for cell in sweep.cells] == [RunState.UNJUDGED]
    assert (
        json.loads(otgan("report", folder.path, "--json").output)["runs"][0]["state"] == "unjudged"
    )
    told = json.loads(otgan("report", tmp_path / "s", "--json").output)
    assert told["cells"][0]["state"] == "unjudged"
    assert told["means"][0]["numbers"]["w2"]["mean"] == 0.5
    assert "trained, not judged" in render(sweep)
    note_judged(folder, ["fid"])
    assert state_of(folder) is RunState.FINISHED
    (tmp_path / "s/sweep.json").write_text('{"eval": [["fid"], 7]}')
    # a record that a hand has changed asks for nothing
    assert state_of(folder) is RunState.FINISHED


def test_a_sweep_its_report_and_a_run_say_the_same_of_a_dead_one(tmp_path):
    (folder,) = sweep_folder(tmp_path / "s", {"oracle.lam": [0.1]}, [0]).values()
    end(folder, state="running")
    assert SweepFolder(tmp_path / "s").state(folder.path.name) is RunState.FAILED
    sweep = read([tmp_path / "s"])
    assert isinstance(sweep, Sweep)
    assert [cell.state for cell in sweep.cells] == [RunState.FAILED]
    assert [group.counts[RunState.FAILED] for group in groups(sweep)] == [1]
    assert "left no word" in render(read([folder.path]))
    assert json.loads(otgan("report", folder.path, "--json").output)["runs"][0]["state"] == "failed"

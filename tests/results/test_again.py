"""The commands of a page are those that a shell would run."""

import json
import shlex
from pathlib import Path

import pytest

from otgan.results.again import again
from otgan.results.run import read_run
from otgan.runs import command_again
from tests.support.commands import otgan
from tests.support.reports import end, run_folder, sweep_folder

pytestmark = pytest.mark.usefixtures("elsewhere")
REPEAT = "repeat it in a new folder"


def told(path):
    return {each.does: shlex.split(each.command) for each in again(read_run(path))}


@pytest.mark.parametrize(
    ("state", "does"),
    [
        ("interrupted", {"go on with it", REPEAT}),
        ("failed", {"go on with it", REPEAT}),
        ("stopped", {"go on with it", REPEAT}),
        ("finished", {REPEAT}),
        ("diverged", {REPEAT}),
    ],
)
def test_what_is_left_to_do_depends_on_the_state(state, does):
    assert set(told(run_folder(Path("r"), state=state).path)) == does


def test_a_path_is_one_word_and_no_option():
    for name in ("it's; rm -rf $HOME", "-o", "sinkhorn-grid", "two\nlines"):
        folder = run_folder(Path(name), state="interrupted")
        commands = told(folder.path)
        program, verb, path = commands["go on with it"]
        assert (program, verb) == ("otgan", "run")
        assert Path(path) == folder.path
        assert not path.startswith("-")
        assert Path(commands[REPEAT][2]) == folder.config_path
    # not the experiment of that name
    assert command_again(Path("sinkhorn-grid")) == "otgan run ./sinkhorn-grid"
    assert command_again(Path("runs/1")) == "otgan run runs/1"


def test_a_repetition_is_of_the_same_config():
    folder = run_folder(Path("-a run"), overrides={"oracle.lam": 0.7})
    done = otgan(*told(folder.path)[REPEAT][1:], "--dry-run")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == folder.read_config()


def test_what_a_config_does_not_hold_is_carried_along():
    folder = run_folder(Path("r"), state="interrupted")
    command = ["otgan", "run", "x", "--data-dir", "my data", "--quiet", "--devices=2"]
    folder.write_environment({**folder.read_environment(), "command": command})
    more = ["--data-dir", "my data", "--devices", "2"]
    assert told(folder.path) == {
        "go on with it": ["otgan", "run", "r", *more],
        REPEAT: ["otgan", "run", "r/config.json", *more],
    }
    folder.write_environment({**folder.read_environment(), "command": "--data-dir"})
    assert told(folder.path)[REPEAT] == ["otgan", "run", "r/config.json"]


def test_a_cell_is_begun_and_judged_as_its_sweep_asks():
    axes = {"oracle.lam": [0.1, 1.0]}
    trained, waiting = sweep_folder(Path("s"), axes, [0], measures=["pr", "modes"]).values()
    end(trained)
    worker = ["python", "-m", "otgan.sweep.worker"]
    assert told(trained.path)["judge it"] == [*worker, str(trained.path), "--measures", "pr,modes"]
    assert told(waiting.path)["begin it"] == [*worker, str(waiting.path), "--measures", "pr,modes"]
    (cell,) = sweep_folder(Path("plain"), {"oracle.lam": [0.1]}, [0]).values()
    assert told(cell.path)["begin it"] == ["otgan", "run", str(cell.path)]


def test_a_run_whose_config_cannot_be_read_has_none():
    folder = run_folder(Path("r"), state="failed")
    folder.config_path.write_text("[")
    assert told(folder.path) == {}

import io
import json

from rich.console import Console

from otgan.files import lock
from otgan.sweep import progress
from otgan.sweep.progress import Board, last_record, seen
from tests.support.made_sweeps import grid, recorded


def test_how_far_a_cell_is(tmp_path):
    plan = grid(**{"train.seconds": 100.0, "train.generator_steps": 1_000})
    root, cell = recorded(tmp_path, plan), plan.cells[0]
    folder = root.folder(cell.id)
    assert seen(folder, cell).share == 0
    lines = [
        {"step": 1, "seconds": 90.0},
        {"step": 2, "seconds": 30.0, "generator_steps": 100, "loss": 0.5},
    ]
    folder.metrics.write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "sec'
    )
    assert last_record(folder) == lines[1]  # the last whole line
    assert seen(folder, cell).share == 0.3  # of the budget that is spent first
    assert "step 2/10  loss 0.5" in seen(folder, cell).words
    folder.metrics.write_text(json.dumps({"step": 10}) + "\n")
    assert seen(folder, cell).share == 1


def test_remaining_time_counts_what_was_gained(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    plan, said = grid(lams=(0.1, 0.2)), io.StringIO()
    root, cell = recorded(tmp_path, plan), plan.cells[0]
    folder = root.folder(cell.id)
    folder.metrics.write_text('{"step": 4}\n')  # by an earlier command
    with (
        Board(root, plan.cells, (), Console(file=said, width=200)) as board,
        lock(folder.path / ".lock"),
    ):
        folder.metrics.write_text('{"step": 9}\n')
        clock[0] = 30.0
        board.tick()
    # half a cell in 30 seconds, 1.1 cells left
    assert (
        said.getvalue()
        == "0/2 cells, 1 at work, 0:30 so far, about 1:06 left; lam=0.1 seed=0 90%\n"
    )


def test_it_says_what_a_signal_does_and_another_will(tmp_path):
    plan, shown = grid(), io.StringIO()
    board = Board(recorded(tmp_path, plan), plan.cells, (), Console(file=shown, width=200))
    board.interrupted(2, False)
    board.interrupted(1, True)
    assert shown.getvalue() == (
        "interrupted: saving the state of 2 cells at work; Ctrl-C again stops them at once\n"
        "stopping 1 cell at work at once\n"
    )


def test_a_cell_that_was_interrupted_before_it_began_has_not_failed(tmp_path):
    plan = grid(lams=(0.1, 0.2, 0.3))
    root, (first, second, third) = recorded(tmp_path, plan), plan.cells
    board = Board(root, plan.cells, (), Console(file=io.StringIO(), width=200))
    words = "did not answer: killed\n"
    for cell, interrupted, log in ((first, True, ""), (second, False, ""), (third, True, words)):
        root.folder(cell.id).log.write_text(log)
        assert board.ended(cell, interrupted) is not interrupted
    assert [root.state(cell.id, ()) for cell in plan.cells] == [
        "interrupted",
        "failed",
        "failed",
    ]

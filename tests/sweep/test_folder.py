import json
import shutil

import pytest

from otgan import experiments
from otgan.errors import UserError
from otgan.files import lock
from otgan.plain import flat, nested
from otgan.results import judged
from otgan.results.judged import note_judged
from otgan.results.sweep import names
from otgan.sweep.folder import Cell, SweepFolder, extended
from otgan.sweep.plan import make_plan
from tests.support.made_sweeps import grid, recorded, say


def cell(target="sinkhorn-grid", /, **values):
    return Cell(experiments.resolve(target, values), {}, 0)


def test_a_cell_is_what_it_computes(tmp_path):
    same = {
        "name": "other",
        "card.title": "other",
        "train.steps": 7,
        "train.seconds": 5.0,
        "train.pictures": 3,
        "train.checkpoint_seconds": 1.0,
    }
    assert cell(**same).id == cell().id
    changed = [
        {"oracle.lam": 0.06},
        {"train.seed": 1},
        {"oracle.loss": "regot"},
        {"generator.width": 8},
    ]
    assert len({cell(**change).id for change in [{}, *changed]}) == len(changed) + 1
    assert cell(**{"oracle.lam": "0.1"}).id == cell(**{"oracle.lam": 0.1}).id
    (tmp_path / "config.json").write_text(cell().config.json())
    assert cell(str(tmp_path / "config.json")).id == cell().id  # from the record as from the name
    assert len(cell().id) == 12


def test_the_folder_is_as_agreed(tmp_path):
    plan = grid(seeds=2, measures=("fid",))
    root = recorded(tmp_path / "s", plan)
    record = json.loads((tmp_path / "s/sweep.json").read_text())
    assert (record["format"], record["experiment"], record["seeds"], record["eval"]) == (
        1,
        "sinkhorn-grid",
        [0, 1],
        ["fid"],
    )
    assert record["axes"] == {"oracle.lam": [0.1, 1.0]}
    assert "lam" not in record["base"]["oracle"]
    assert "seed" not in record["base"]["train"]
    assert record["base"]["oracle"]["epsilon"] == "0.3x"
    assert sorted(root.cells()) == sorted(cell.id for cell in plan.cells)
    for each in plan.cells:
        folder = tmp_path / "s/cells" / each.id
        assert json.loads((folder / "cell.json").read_text()) == {
            "values": each.values,
            "seed": each.seed,
        }
        assert experiments.resolve(str(folder / "config.json")) == each.config
    assert root.read() == plan.sweep


def test_states_are_read_from_the_folder_alone(tmp_path, monkeypatch):
    plan = grid(lams=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    root = recorded(tmp_path, plan)
    _, begun, done, diverged, silent, killed = plan.cells
    say(root, begun, "running")
    say(root, done, "finished")
    say(root, diverged, "diverged")
    root.folder(silent.id).log.write_text("Killed\n")
    say(root, killed, "running")
    with lock(root.folder(begun.id).path / ".lock"):
        states = [root.state(each.id) for each in plan.cells]
    assert states == ["missing", "running", "finished", "diverged", "failed", "failed"]
    assert root.state(begun.id) == "failed"  # its process is gone
    assert root.folder(silent.id).last_words == "Killed"
    assert root.state(done.id, ["fid"]) == "unjudged"
    say(root, diverged, "interrupted")
    assert root.state(diverged.id) == "interrupted"
    root.folder(done.id).eval.mkdir()
    note_judged(root.folder(done.id), ["fid"])
    note_judged(root.folder(done.id), ["modes"])
    assert root.state(done.id, ["fid", "modes"]) == "finished"
    monkeypatch.setattr(judged, "versions_digest", lambda: "other")
    # what was measured under other versions is not compared with what is now
    assert root.state(done.id, ["fid"]) == "unjudged"
    shutil.rmtree(root.folder(done.id).path)
    assert root.state(done.id) == "missing"


def test_two_commands_at_once_add_to_each_other(tmp_path):
    first, second = grid(lams=(0.1, 1.0)), grid(lams=(1.0, 10.0), seeds=2, measures=("fid",))
    root = recorded(tmp_path, first)  # neither knew of the other when it began
    root.record(second.sweep, second.cells)
    assert root.read() == extended(first.sweep, second.sweep, tmp_path)


def test_killed_while_it_wrote_the_first_record_a_sweep_can_be_begun_again(tmp_path):
    plan = grid()
    (tmp_path / "sweep.json.new").write_text('{"for')
    assert SweepFolder(tmp_path).read() is None
    assert recorded(tmp_path, plan).read() == plan.sweep


def test_more_values_extend_a_sweep(tmp_path):
    first, second = grid(lams=(0.1, 1.0)), grid(lams=(1.0, 10.0), seeds=2, measures=("fid",))
    root = recorded(tmp_path, first)
    whole = extended(first.sweep, second.sweep, tmp_path)
    assert whole.axes == {"oracle.lam": [0.1, 1.0, 10.0]}
    assert (whole.seeds, whole.eval) == ([0, 1], ["fid"])
    assert whole.base == first.sweep.base
    root.record(whole, second.cells)
    assert len(root.cells()) == 2 + 3  # of the four asked for one was there
    assert root.read() == whole


def test_cells_of_a_version_that_lacked_a_key_are_found(tmp_path):
    """Their folders are named by another hash; what they computed is the same."""
    plan = grid(lams=(0.1, 1.0))
    root = recorded(tmp_path, plan)
    old = plan.cells[0]
    say(root, old, "finished")
    folder = root.folder(old.id).path
    config = json.loads((folder / "config.json").read_text())
    del config["oracle"]["pulls"]
    (folder / "config.json").write_text(json.dumps(config))
    folder.rename(folder.with_name("0" * 12))
    again = SweepFolder(tmp_path)
    assert [again.state(cell.id) for cell in plan.cells] == [
        "finished",
        root.state(plan.cells[1].id),
    ]
    again.record(plan.sweep, plan.cells)
    assert sorted(again.cells()) == sorted(["0" * 12, plan.cells[1].id])  # none is made twice
    assert [
        cell.state for cell in again.results(plan.cells).cells if cell.path.name == "0" * 12
    ] == ["finished"]


def test_an_axis_can_be_added_and_left_out(tmp_path):
    first = grid(lams=(0.1, 1.0))
    root = recorded(tmp_path, first)
    second = grid(lams=(0.1,))
    second = second._replace(sweep=extended(first.sweep, second.sweep, tmp_path))
    assert second.sweep.axes == first.sweep.axes
    # lam is the experiment's, 0.05
    third = make_plan("sinkhorn-grid", {"train.steps": 10}, {"oracle.epsilon": ["0.1x", "0.5x"]}, 1)
    whole = extended(first.sweep, third.sweep, tmp_path)
    assert whole.axes == {
        "oracle.lam": [0.1, 1.0, 0.05],
        "oracle.epsilon": ["0.3x", "0.1x", "0.5x"],
    }
    assert not {"lam", "epsilon"} & whole.base["oracle"].keys()
    root.record(whole, third.cells)
    values = [
        json.loads((root.folder(id_).path / "cell.json").read_text())["values"]
        for id_ in root.cells()
    ]
    pairs = sorted((each["oracle.lam"], each["oracle.epsilon"]) for each in values)
    assert pairs == [(0.05, "0.1x"), (0.05, "0.5x"), (0.1, "0.3x"), (1.0, "0.3x")]
    assert all(each["oracle.lam"] in whole.axes["oracle.lam"] for each in values)


def test_another_sweeps_folder_is_refused(tmp_path):
    here = grid().sweep
    other = grid(**{"batch.size": 64, "train.eval_samples": 9, "train.log_every": 5}).sweep
    with pytest.raises(
        UserError,
        match=(r"batch.size \(512 there, 64 now\); train.eval_samples \(None there, 9 now\). Give"),
    ):
        extended(here, other, tmp_path)
    with pytest.raises(UserError, match="holds a sweep of sinkhorn-grid, not of regot-grid"):
        extended(here, SweepFolder(tmp_path).read() or grid_of("regot-grid"), tmp_path)
    # only how often one looks
    extended(here, grid(**{"train.log_every": 5, "train.eval_every": 5}).sweep, tmp_path)


def test_a_sweep_goes_further_with_all_its_cells(tmp_path):
    first, more = grid(lams=(0.1, 1.0)), grid(lams=(0.1, 2.0), **{"train.steps": 20})
    root = recorded(tmp_path, first)
    for each in first.cells:
        say(root, each, "finished", w2=0.5)
    ids = {each.id for each in first.cells}
    assert more.cells[0].id == first.cells[0].id  # how far it goes is no part of what it computes
    again = SweepFolder(tmp_path)
    assert [again.standing(each, ()) for each in more.cells] == ["interrupted", "missing"]
    whole = extended(first.sweep, more.sweep, tmp_path)
    assert whole.base["train"]["steps"] == 20
    again.record(whole, more.cells)
    assert {id_: again.state(id_) for id_ in again.cells()} == {
        **dict.fromkeys(ids, "interrupted"),
        more.cells[1].id: "missing",
    }
    status = again.folder(first.cells[1].id).read_status()
    assert (
        status["reason"] == "it is to go further, and has not yet: train.steps (10 there, 20 now)"
    )
    assert (status["step"], status["summary"]["w2"]) == (10, 0.5)
    assert all(again.folder(i).read_config()["train"]["steps"] == 20 for i in again.cells())
    for shorter in ({"train.steps": 10}, {"train.steps": 20, "train.seconds": 5.0}):
        with pytest.raises(UserError, match="holds a sweep that goes further: train"):
            extended(whole, grid(**shorter).sweep, tmp_path)


def test_a_sweep_does_not_go_further_under_a_cell_at_work(tmp_path):
    first, more = grid(lams=(0.1, 1.0)), grid(lams=(0.1,), **{"train.steps": 20})
    root = recorded(tmp_path, first)
    with (
        lock(root.folder(first.cells[1].id).path / ".lock"),
        pytest.raises(UserError, match="is at work, and knows of its earlier end"),
    ):
        root.record(extended(first.sweep, more.sweep, tmp_path), more.cells)
    assert root.read() == first.sweep
    assert all(root.folder(i).read_config()["train"]["steps"] == 10 for i in root.cells())


def test_what_is_shown_may_change_where_a_cell_is_not_done(tmp_path):
    first, more = grid(lams=(0.1, 1.0)), grid(lams=(0.1, 1.0), **{"train.pictures": 3})
    root = recorded(tmp_path, first)
    say(root, first.cells[0], "finished")
    root.record(extended(first.sweep, more.sweep, tmp_path), more.cells)
    shown = [root.folder(each.id).read_config()["train"]["pictures"] for each in first.cells]
    assert shown == [10, 3]


def test_a_sweep_over_a_budget_is_read_but_not_gone_on_with(tmp_path):
    """As an earlier version could begin one."""
    old = grid().sweep
    record = json.loads(json.dumps({"format": 1, **vars(old)}))
    record["axes"]["train.steps"] = [5, 10]
    del record["base"]["train"]["steps"]
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    there = SweepFolder(tmp_path).read()
    assert there
    with pytest.raises(UserError, match=r"holds a sweep over train\.steps, by which cells are not"):
        extended(there, old, tmp_path)


def grid_of(name):
    return make_plan(name, {}, {"oracle.lam": [1.0]}, 1).sweep


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "cannot read"),
        ('{"format": 2}', "is of format 2"),
        ("[]", "cannot read"),
        ('{"format": 1, "axes": {}}', "cannot read"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(tmp_path, text, sentence):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        SweepFolder(tmp_path).read()


def test_a_folder_of_something_else_is_refused(tmp_path):
    assert SweepFolder(tmp_path).read() is None
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="holds something else than a sweep"):
        SweepFolder(tmp_path).read()


def test_axes_are_named_by_their_last_word():
    assert names(["oracle.lam", "train.steps"]) == {"oracle.lam": "lam", "train.steps": "steps"}
    assert names(["generator.width", "cost.encoder.width"])["generator.width"] == "generator.width"


def test_flat_tables_are_the_tables():
    tree = experiments.resolve("sinkhorn-grid").model_dump(mode="json")
    assert nested(flat(tree)) == tree
    assert flat(tree)["generator.optimizer.b1"] == 0.5

import numpy as np
import pytest
from made_sweeps import grid, recorded, say, score

from otgan.sweep.ledger import note_judged
from otgan.sweep.table import Spread, of_summary, shown, spread, tabulate


def test_mean_and_standard_deviation_over_seeds(tmp_path):
    plan = grid(lams=(0.1, 1.0), seeds=3)
    ledger = recorded(tmp_path, plan)
    ratios = {cell.id: 0.9 + 0.01 * i**2 for i, cell in enumerate(plan.cells)}
    for cell in plan.cells:
        say(ledger, cell, modes=25, high_quality=0.5, w2=2 * ratios[cell.id], w2_floor=2.0, converged_share=0.75)
    tabled = tabulate(ledger, plan.cells, [])
    assert tabled.columns == ["modes", "high_quality", "w2 / floor", "within epsilon", "seconds"]
    assert [row.values for row in tabled.rows] == [{"oracle.lam": 0.1}, {"oracle.lam": 1.0}]
    for row in tabled.rows:
        mine = [ratios[cell.id] for cell in plan.cells if cell.values == row.values]
        got = row.numbers["w2 / floor"]
        np.testing.assert_allclose([got.mean, got.sd, len(got.values)], [np.mean(mine), np.std(mine, ddof=1), 3])
        assert (row.finished, row.asked) == (3, 3)
        assert shown("within epsilon", row.numbers["within epsilon"]) == "75.0 ± 0 %"
    assert shown("within epsilon", Spread(0.9999, None, [0.9999])) == "99.9 %"  # never rounded up to all
    assert tabled.gaps == ["solved duals, certified gap"]


def test_what_is_not_finished_is_counted_and_left_out(tmp_path):
    plan = grid(lams=(0.1, 1.0), seeds=2)
    ledger = recorded(tmp_path, plan)
    say(ledger, plan.cells[0], loss=1.0)
    say(ledger, plan.cells[1], "diverged", loss=9.0)
    say(ledger, plan.cells[2], loss=2.0)
    low, high = tabulate(ledger, plan.cells, []).rows
    assert (low.finished, low.asked, low.numbers["loss"].mean) == (2, 2, 1.5)
    assert (high.finished, high.asked, high.numbers) == (0, 2, {})


def test_scores_of_the_end_that_were_measured_alike(tmp_path):
    plan = grid(measures=("fid",))
    ledger = recorded(tmp_path, plan)
    for i, cell in enumerate(plan.cells):
        say(ledger, cell, w2=1.0, w2_floor=1.0)
        score(ledger, cell, "fid[x]", 1.0 + i)
        score(ledger, cell, "fid[x]", 99.0, step=5)  # of an older checkpoint, judged later
        note_judged(ledger.folder(cell.id), ["fid"])
    tabled = tabulate(ledger, plan.cells, ["fid"])
    assert tabled.columns == ["fid[x]", "within epsilon", "seconds"]
    assert [row.numbers["fid[x]"] for row in tabled.rows] == [Spread(1.0, None, [1.0]), Spread(2.0, None, [2.0])]
    assert tabulate(ledger, plan.cells, []).columns[0] == "w2 / floor"  # scores only where they are asked for


def test_scores_that_were_measured_differently_are_not_put_side_by_side(tmp_path):
    plan = grid(measures=("fid",))
    ledger = recorded(tmp_path, plan)
    for cell, samples in zip(plan.cells, (100, 200), strict=True):
        say(ledger, cell)
        score(ledger, cell, "fid[x]", 1.0, samples=samples)
        score(ledger, cell, "kid[x]", 2.0)
        note_judged(ledger.folder(cell.id), ["fid"])
    tabled = tabulate(ledger, plan.cells, ["fid"])
    assert tabled.columns == ["kid[x]", "within epsilon", "seconds"]
    assert "they differ in samples (100 against 200)" in tabled.notes[0]


@pytest.mark.parametrize(
    ("summary", "columns"),
    [
        ({"loss": 1.0}, ["loss"]),
        ({"w2": 2.0, "w2_floor": 0.0}, ["w2"]),
        ({"modes": 3, "w2": 2.0, "w2_floor": 1.0}, ["modes", "w2 / floor"]),
    ],
)
def test_what_a_summary_is_told_by(summary, columns):
    assert [*of_summary(summary)] == columns


def test_one_seed_has_no_spread():
    assert spread([2.0]) == Spread(2.0, None, [2.0])
    assert shown("x", Spread(2.0, None, [2.0])) == "2"
    assert shown("x", Spread(2.0, 0.123, [1.877, 2.0, 2.123])) == "2 ± 0.12"

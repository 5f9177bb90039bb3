"""Means over seeds, and nothing in one column that was not measured alike."""

import json
from typing import Any

import numpy as np
import pytest

from otgan.results.aggregate import Spread, aggregate, score_marks, spread
from otgan.results.judged import note_judged
from otgan.results.quantity import Quantity
from tests.support.made_sweeps import grid, recorded, say, score


def means_of(root, plan):
    return aggregate(root.results(plan.cells))


def test_mean_and_standard_deviation_over_seeds(tmp_path):
    plan = grid(lams=(0.1, 1.0), seeds=3)
    root = recorded(tmp_path, plan)
    ratios = {cell.id: 0.9 + 0.01 * i**2 for i, cell in enumerate(plan.cells)}
    for cell in plan.cells:
        say(
            root,
            cell,
            modes=25,
            high_quality=0.5,
            w2=2 * ratios[cell.id],
            w2_floor=2.0,
            converged_share=0.75,
        )
    means = means_of(root, plan)
    assert means.short(judged=False) == [
        "w2 / w2_floor",
        "modes",
        "high_quality",
        "converged_share",
        "seconds",
    ]
    assert [group.values for group in means.groups] == [{"oracle.lam": "0.1"}, {"oracle.lam": "1"}]
    for group in means.groups:
        mine = [
            ratios[cell.id]
            for cell in plan.cells
            if f"{cell.values['oracle.lam']:g}" == group.values["oracle.lam"]
        ]
        got: Any = means.spread(group, "w2 / w2_floor")
        np.testing.assert_allclose(
            [got.mean, got.sd, len(got.values)],
            [float(np.mean(mine)), float(np.std(mine, ddof=1)), 3],
        )
        assert (len(group.finished), len(group.cells)) == (3, 3)
        share: Any = means.spread(group, "converged_share")
        assert (
            means.known["converged_share"].text(share.mean)
            + means.known["converged_share"].deviation(share.sd)
            == "75.0% ± 0%"
        )
    assert {(cell.gap_of, cell.gap_kind) for cell in means.finished} == {
        ("solved duals", "certified")
    }


def test_what_is_not_finished_is_counted_and_left_out(tmp_path):
    plan = grid(lams=(0.1, 1.0), seeds=2)
    root = recorded(tmp_path, plan)
    say(root, plan.cells[0], loss=1.0)
    say(root, plan.cells[1], "diverged", loss=9.0)
    say(root, plan.cells[2], loss=2.0)
    means = means_of(root, plan)
    low, high = means.groups
    assert (len(low.finished), len(low.cells), means.spread(low, "loss").mean) == (2, 2, 1.5)
    assert (len(high.finished), len(high.cells), means.spread(high, "loss")) == (0, 2, None)


def test_scores_of_the_end_stand_in_the_table_where_they_are_asked_for(tmp_path):
    plan = grid(measures=("fid",))
    root = recorded(tmp_path, plan)
    for i, cell in enumerate(plan.cells):
        say(root, cell, w2=1.0, w2_floor=1.0)
        score(root, cell, "fid[x]", 1.0 + i)
        score(root, cell, "fid[x]", 99.0, step=5)  # of an older checkpoint, judged later
    assert means_of(root, plan).finished == []  # trained, but not judged
    for cell in plan.cells:
        note_judged(root.folder(cell.id), ["fid"])
    means = means_of(root, plan)
    assert means.short(judged=True) == ["fid[x]", "converged_share", "seconds"]
    assert [means.spread(group, "fid[x]") for group in means.groups] == [
        Spread(1.0, None, [1.0]),
        Spread(2.0, None, [2.0]),
    ]
    assert means_of(root, plan).short(judged=False)[0] == "w2 / w2_floor"


def test_scores_that_are_the_summary_s_numbers_stand_in_the_table_once(tmp_path):
    plan = grid(measures=("modes",))
    root = recorded(tmp_path, plan)
    same = {"metric": "modes", "samples": 2_000}
    for i, cell in enumerate(plan.cells):
        say(root, cell, modes=20.0 + i, fingerprints={"modes": json.dumps(same)})
        score(root, cell, "modes", 20.0 + i, samples=2_000)
        note_judged(root.folder(cell.id), ["modes"])
    means = means_of(root, plan)
    assert means.names.count("modes") == 1
    assert means.short(judged=True) == ["modes", "converged_share", "seconds"]
    score(root, plan.cells[0], "modes", 3.0, samples=50)
    means = means_of(root, plan)
    assert means.short(judged=True) == ["modes (judged)", "modes", "converged_share", "seconds"]
    assert means.spread(means.groups[0], "modes (judged)") == Spread(3.0, None, [3.0])
    assert means.spread(means.groups[0], "modes") == Spread(20.0, None, [20.0])


def test_scores_that_were_measured_differently_have_columns_of_their_own_and_a_note(tmp_path):
    plan = grid(measures=("fid",))
    root = recorded(tmp_path, plan)
    for cell, samples in zip(plan.cells, (100, 200), strict=True):
        say(root, cell)
        score(root, cell, "fid[x]", 1.0, samples=samples)
        score(root, cell, "kid[x]", 2.0)
        note_judged(root.folder(cell.id), ["fid"])
    means = means_of(root, plan)
    few, many, kid, *_ = means.short(judged=True)
    assert few.startswith("fid[x] (")
    assert many.startswith("fid[x] (")
    assert kid == "kid[x]"
    found = [
        {name: spread.mean for name in (few, many) if (spread := means.spread(group, name))}
        for group in means.groups
    ]
    assert found == [{few: 1.0}, {many: 1.0}]
    assert "differ in samples (100 against 200)" in means.comparison.notes[0]


@pytest.mark.parametrize(
    "others", [{"w2": '{"metric": "w2", "samples": 100, "versions": 2}'}, None]
)
def test_numbers_of_summaries_that_were_measured_differently_are_in_no_one_mean(tmp_path, others):
    """As where a version of the measure was raised between two seeds.

    Of a summary without fingerprints it is not known.
    """
    plan = grid(lams=(0.1,), seeds=2)
    root = recorded(tmp_path, plan)
    first, second = plan.cells
    prints = {"w2": '{"metric": "w2", "samples": 100, "versions": 1}'}
    say(root, first, w2=1.0, loss=1.0, fingerprints=prints)
    score(root, first, "w2", 1.0, versions=1)
    say(root, second, w2=9.0, loss=2.0, **({"fingerprints": others} if others else {}))
    score(root, second, "w2", 9.0, versions=2)
    means = means_of(root, plan)
    (group,) = means.groups
    assert means.spread(group, "loss").mean == 1.5
    found = [means.spread(group, name) for name in means.names if name.startswith("w2")]
    assert sorted(each.values for each in found) == (
        [[1.0], [9.0]] if others else [[1.0], [9.0], [9.0]]
    )
    assert "w2 was measured in different ways" in means.comparison.notes[0]


def test_marks_are_said_of_whom_they_are_true(tmp_path):
    plan = grid(measures=("fid",))
    root = recorded(tmp_path, plan)
    for cell in plan.cells:
        say(root, cell)
        score(root, cell, "fid[x]", 1.0)
        note_judged(root.folder(cell.id), ["fid"])
    path = root.folder(plan.cells[0].id).scores
    path.write_text(
        path.read_text().replace('"floor": null', '"floor": null, "marks": ["too few"]')
    )
    means = means_of(root, plan)
    assert score_marks(means.finished, ["one", "two"], means.comparison) == [
        "fid[x] of one: too few"
    ]


@pytest.mark.parametrize(
    ("summary", "columns"),
    [
        ({"loss": 1.0}, ["loss"]),
        ({"w2": 2.0, "w2_floor": 0.0}, ["w2"]),
        ({"modes": 3, "w2": 2.0, "w2_floor": 1.0, "loss": 1.0}, ["w2 / w2_floor", "modes"]),
        # a family's own, with a direction
        (
            {"loss": 1.0, "estimated_gap": 2.0, "potential_w2_squared": 1.0},
            ["loss", "estimated_gap"],
        ),
        ({"loss": 1.0, "nobody_knows": 2.0}, ["loss"]),
    ],
)
def test_what_a_run_is_told_by_in_a_short_table(tmp_path, summary, columns):
    plan = grid(lams=(0.1,))
    root = recorded(tmp_path, plan)
    say(root, plan.cells[0], **summary)
    means = means_of(root, plan)
    assert means.short(judged=False) == [*columns, "converged_share", "seconds"]
    assert set(summary) - {"w2_floor"} <= set(means.names)  # and nothing is left out of the whole


def test_what_a_family_declared_is_known_from_the_folder(tmp_path):
    plan = grid(lams=(0.1,))
    root = recorded(tmp_path, plan)
    say(root, plan.cells[0], loss=1.0, own=0.25)
    own = Quantity("own", "a number of its own", better="lower", format="share")
    root.folder(plan.cells[0].id).write_environment({"quantities": [own.record(), {"nothing": 1}]})
    means = means_of(root, plan)
    assert means.short(judged=False) == ["loss", "own", "converged_share", "seconds"]
    assert means.known["own"] == own


def test_one_seed_has_no_spread():
    assert spread([2.0]) == Spread(2.0, None, [2.0])
    assert spread([1.0, 3.0]).sd == pytest.approx(2**0.5)

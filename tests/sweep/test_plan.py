from typing import Any

import pytest

from otgan.errors import UserError
from otgan.sweep.plan import make_plan

AXES = {"oracle.lam": [0.1, 1.0], "oracle.loss": ["regot", "sinkhorn"]}


def test_every_combination_with_every_seed():
    plan = make_plan("sinkhorn-grid", {"batch.size": 64}, AXES, 3)
    configs: list[Any] = [cell.config for cell in plan.cells]
    found = [(str(config.oracle.lam), config.oracle.loss, config.train.seed) for config in configs]
    assert len(set(found)) == len(found) == 2 * 2 * 3
    # a whole grid first, then the next seed
    assert [seed for *_, seed in found] == [0] * 4 + [1] * 4 + [2] * 4
    assert all(cell.config.batch.size == 64 for cell in plan.cells)
    assert plan.cells[1].label == "lam=0.1 loss=sinkhorn seed=0"


def test_a_value_given_twice_counts_once():
    assert len(make_plan("sinkhorn-grid", {}, {"oracle.lam": [0.1, 0.1]}, 1).cells) == 1


def test_an_axis_may_choose_a_table():
    plan = make_plan("sinkhorn-grid", {}, {"data.kind": ["grid", "mnist"]}, 1)
    assert [type(cell.config.data).__name__ for cell in plan.cells] == ["Grid", "Images"]
    assert "data" not in plan.sweep.base  # they share no key but the axis
    assert plan.sweep.base["batch"]["size"] == 512


@pytest.mark.parametrize(
    ("axes", "overrides", "sentence"),
    [
        ({}, {}, "nothing to sweep"),
        ({"oracle.lam": [0.1, -1]}, {}, "oracle.lam: must be above 0, not -1"),
        ({"oracle.lamm": [0.1]}, {}, "did you mean oracle.lam"),
        ({"train.seed": [1, 2]}, {}, "--seeds 3"),
        ({"oracle.lam": [1.0]}, {"train.seed": 7}, "--seeds 3"),
        ({"train.seconds": [1.0, 2.0]}, {}, "seconds=1.0 and seconds=2.0 are the same cell"),
        ({"oracle.lam": ["0.1x", "0.10x"]}, {}, "are the same cell"),
        (
            {"oracle.tau": [1.0, "inf"], "oracle.regularizer": ["kl", "l2"]},
            {},
            "with l2 leave tau at inf",
        ),
    ],
)
def test_mistakes_are_told_before_anything(axes, overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        make_plan("sinkhorn-grid", overrides, axes, None)


def test_seeds_alone_are_a_sweep():
    plan = make_plan("sinkhorn-grid", {"batch.size": 64}, {}, 3)
    assert [cell.label for cell in plan.cells] == ["seed=0", "seed=1", "seed=2"]
    assert len({cell.id for cell in plan.cells}) == 3
    assert make_plan("sinkhorn-grid", {}, {}, 1).sweep.seeds == [0]

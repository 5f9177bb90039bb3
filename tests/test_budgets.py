"""How much of a run's budgets is used, and what follows from it."""

import pytest

from otgan import experiments
from otgan.budgets import (
    USED_BY,
    longer,
    picture_steps,
    pictures_due,
    rising_again,
    share_used,
    shorter,
)
from otgan.config import Config, Effect, marked


def train(**changes):
    changes = {f"train.{key}": value for key, value in changes.items()}
    return experiments.resolve("sinkhorn-grid", changes).train


def test_the_keys_of_budgets_are_those_that_are_marked():
    assert USED_BY.keys() == marked(Config, Effect.EXTENT)


def test_the_budget_that_is_used_most_counts():
    all_three = train(steps=100, seconds=10.0, generator_steps=50)
    assert share_used(all_three, {"step": 20, "seconds": 3.0, "generator_steps": 10}) == 0.3
    assert share_used(all_three, {"step": 20, "seconds": 1.0, "generator_steps": 40}) == 0.8
    assert share_used(all_three, {}) == 0
    assert share_used(train(steps=100), {"step": 20, "seconds": 1e9}) == 0.2


def test_pictures_are_spread_over_the_steps():
    assert picture_steps(train(steps=1000, pictures=4)) == [250, 500, 750, 1000]
    assert picture_steps(train(steps=3, pictures=10)) == [1, 2, 3]


@pytest.mark.parametrize(("steps", "pictures"), [(1000, 4), (1000, 3), (3, 10), (7, 7), (10, 1)])
def test_by_steps_alone_a_picture_is_due_at_each_of_its_steps(steps, pictures):
    of = train(steps=steps, pictures=pictures)
    due = [pictures_due(of, {"step": step}) for step in range(steps + 1)]
    rises = [step for step in range(1, steps + 1) if due[step] > due[step - 1]]
    assert rises == picture_steps(of)


def test_by_seconds_pictures_are_due_by_the_share_of_them():
    of = train(steps=10**6, seconds=20.0, pictures=5)
    used = [{"step": 10, "seconds": seconds} for seconds in (0.0, 3.9, 4.0, 11.9, 12.0, 20.0)]
    assert [pictures_due(of, each) for each in used] == [0, 0, 1, 2, 3, 5]


def test_budgets_are_compared_and_none_is_no_limit():
    before = {"train.steps": 300, "train.seconds": None, "train.generator_steps": 9, "x": 1}
    now = {"train.steps": 400, "train.seconds": 5.0, "train.generator_steps": None, "x": 2}
    assert longer(before, now) == [
        "train.steps (300 there, 400 now)",
        "train.generator_steps (9 there, None now)",
    ]
    assert shorter(before, now) == ["train.seconds (None there, 5.0 now)"]
    assert shorter(before, now, {"step": 9, "seconds": 4.0, "generator_steps": 0}) == []
    assert shorter(before, now, {"step": 9, "seconds": 6.0, "generator_steps": 0}) != []
    assert longer({}, now) == shorter(before, {}) == []  # of an axis nothing is said


def test_what_a_raised_budget_means_is_said_where_a_rate_falls_with_it():
    constant = {"generator.optimizer.schedule": "constant"}
    assert rising_again(experiments.resolve("sinkhorn-grid", constant)) == ""
    assert rising_again(experiments.resolve("sinkhorn-grid")).startswith(
        "generator.optimizer.schedule = cosine fell to zero"
    )

"""What a named experiment gave stands in a file beside it, and its card is made of that."""

import json

import pytest

from otgan import experiments
from otgan.errors import UserError
from otgan.measured import path_of, read_measured, values_of
from otgan.named import find, names

SCORES = [
    {"name": "fid[mnist-allconv]", "mean": 0.1243, "sd": 0.0042, "floor": 0.0153},
    {"name": "density[mnist-allconv]", "mean": 0.7, "sd": 0.1, "floor": 0.9},
    {"name": "converged_share", "mean": 0.995, "sd": 0.0},
    {"name": "seconds", "mean": 262.1, "sd": 3.3},
]
SENTENCE = (
    "3 seeds, 2026-11-28, by its name alone{}, otgan 0.2.0 at 0123456, 1 CPU core, 1,500 steps:"
    " by mnist-allconv fid 0.124 ± 0.004 (real 0.0153); 99.5% of solved duals within epsilon, 262 ±"
    " 3 s of training"
)


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "sinkhorn-grid"\n[card]\ntitle = "mine"\n[oracle]\nlam = 0.3\n', "utf-8"
    )
    return path


def shipped(name):
    path = find(name)
    assert path
    return path


def measure(path, **changes):
    told = {
        "date": "2026-11-28",
        "otgan": "0.2.0",
        "commit": "0123456789abcdef",
        "where": "1 CPU core",
        "seeds": [0, 1, 2],
        "steps": [1500, 1500],
        "numbers": SCORES,
        "values": values_of(experiments.resolve(str(path))),
    }
    path_of(path).parent.mkdir(exist_ok=True)
    path_of(path).write_text(json.dumps(told | changes))


def gave(path, **overrides):
    return experiments.resolve(str(path), overrides).card.measured


def test_a_card_says_what_was_measured(experiment):
    assert gave(experiment) == ""  # what the other experiment gave is not its own
    measure(experiment)
    assert gave(experiment) == SENTENCE.format("")


def test_one_seed_has_no_spread_and_steps_may_differ(experiment):
    measure(experiment, seeds=[4], steps=[900, 1500], numbers=[{"name": "modes", "mean": 1998}])
    assert gave(experiment) == (
        "seed 4, 2026-11-28, by its name alone, otgan 0.2.0 at 0123456, 1 CPU core, 900 to 1,500"
        " steps: modes 1,998"
    )


def test_what_has_changed_since_is_said(experiment):
    measure(experiment)
    seed = {"train.seed": 7, "train.log_every": 3}  # neither decides what any seed gives
    assert gave(experiment, **seed) == SENTENCE.format("")
    assert gave(experiment, **{"oracle.lam": "0.5x"}) == SENTENCE.format(
        " (with oracle.lam 0.3 then)"
    )
    many = {
        "oracle.lam": 1,
        "oracle.epsilon": 1,
        "batch.size": 64,
        "train.steps": 9,
        "cost.name": "l2",
    }
    assert " and 2 more then)" in gave(experiment, **many)


def test_a_key_that_came_later_had_its_default(experiment):
    values = values_of(experiments.resolve(str(experiment)))
    measure(experiment, values={k: v for k, v in values.items() if k != "oracle.pulls"})
    assert gave(experiment) == SENTENCE.format("")
    said = SENTENCE.format(" (with oracle.pulls plain then)")
    assert gave(experiment, **{"oracle.pulls": "even"}) == said


def test_a_key_that_is_gone_decides_nothing(experiment):
    values = values_of(experiments.resolve(str(experiment)))
    measure(experiment, values={**values, "oracle.phase_of_the_moon": 3, "oracle.lam": 0.2})
    assert gave(experiment) == SENTENCE.format(" (with oracle.lam 0.2 then)")


def test_code_that_was_changed_is_marked(experiment):
    measure(experiment, commit="0123456789abcdef+")
    assert "otgan 0.2.0 at 0123456+, 1 CPU core" in gave(experiment)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"date": "yesterday"}'])
def test_a_damaged_file_is_named(experiment, text):
    path_of(experiment).parent.mkdir()
    path_of(experiment).write_text(text)
    with pytest.raises(UserError, match=r"cannot read .*measured.mine\.json: \S"):
        gave(experiment)


def test_names_cannot_work_on_the_terminal(experiment):
    measure(experiment, numbers=[{"name": "fid\x1b[2J", "mean": 1.0}])
    with pytest.raises(UserError, match="cannot read"):
        gave(experiment)


def test_no_file_is_left_of_an_experiment_that_is_gone():
    assert {path.stem for path in path_of(shipped("sinkhorn-grid")).parent.glob("*")} <= {*names()}


@pytest.mark.parametrize("name", [name for name in names() if path_of(shipped(name)).is_file()])
def test_what_was_measured_of_a_recipe_was_measured_by_its_values(name):
    """Change a recipe, and its file must go, or be measured anew."""
    config, found = experiments.resolve(name), read_measured(path_of(shipped(name)))
    assert found
    assert found.then(config) == values_of(config)
    assert len(found.commit) == 40  # of code that had no changes

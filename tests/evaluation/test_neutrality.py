"""What a run was trained on, and who is left to judge it."""

import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from otgan import experiments, weights
from otgan.evaluation.neutrality import (
    TrainingNetwork,
    neutral_name,
    training_networks,
    was_trained_on,
)
from otgan.features import make_features
from otgan.runs import RunFolder
from otgan.weights.catalog import embedded

DIGIT = (28, 28, 1)
LENET = TrainingNetwork("mnist-lenet", embedded("mnist-lenet").digest[:12])


def config(features, experiment="sinkhorn-mnist"):
    """Of any features, also of those that are not there (any more)."""
    found = experiments.resolve(experiment)
    return found.model_copy(
        update={"cost": found.cost.model_copy(update={"features": str(features)})}
    )


def begun(path, config):
    """The folder of a run."""
    path.mkdir()
    RunFolder(path).create(config.json())
    return path


def carried(name):
    return Path(str(files("otgan.weights") / f"{name}.safetensors"))


@pytest.mark.parametrize(
    ("features", "networks"),
    [
        ("pixels", ()),
        ("learned", ()),
        ("random", (TrainingNetwork("random"),)),
        ("random:conv_0+conv_2", (TrainingNetwork("random"),)),
        ("mnist-lenet", (LENET,)),
        ("mnist-lenet:all", (LENET,)),
        ("resnet50:pool", (TrainingNetwork("resnet50"),)),
        ("dinov2-s", (TrainingNetwork("dinov2-s"),)),
    ],
)
def test_the_part_before_the_colon_names_the_network(features, networks):
    assert training_networks(config(features)) == networks


def test_a_file_is_known_by_its_digest(tmp_path):
    copied = shutil.copy(carried("mnist-lenet"), tmp_path / "copy.safetensors")
    other = tmp_path / "other.safetensors"
    weights.write(
        other, embedded("mnist-lenet").parameters, {"network": "mnist-lenet", "seed": "another"}
    )
    assert (
        training_networks(config(copied)) == training_networks(config(f"{copied}:all")) == (LENET,)
    )
    assert training_networks(config(other)) == (
        TrainingNetwork(str(other), weights.read(other).digest[:12]),
    )
    assert training_networks(config(tmp_path / "gone.safetensors")) == (
        TrainingNetwork(str(tmp_path / "gone.safetensors")),
    )


def test_an_encoder_that_is_taken_over_is_what_it_was_there(tmp_path):
    lenet = begun(
        tmp_path / "lenet", experiments.resolve("sinkhorn-mnist", {"cost.features": "mnist-lenet"})
    )
    learned = begun(
        tmp_path / "learned", experiments.resolve("sinkhorn-mnist", {"cost.features": "learned"})
    )
    taken = experiments.resolve("sinkhorn-mnist", {"cost.features": str(lenet)})
    assert training_networks(taken) == (LENET,)
    assert (
        training_networks(experiments.resolve("sinkhorn-mnist", {"cost.features": str(learned)}))
        == ()
    )
    shutil.rmtree(lenet)
    assert training_networks(taken) == (TrainingNetwork("mnist-lenet"),)


def test_folders_that_name_each_other_come_to_an_end(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        begun(tmp_path / one, config(tmp_path / other))
    assert training_networks(config(tmp_path / "a")) == ()


def test_a_composite_was_trained_on_what_its_generator_was(tmp_path):
    run = begun(
        tmp_path / "run", experiments.resolve("sinkhorn-mnist", {"cost.features": "mnist-lenet"})
    )
    assert training_networks(experiments.compose(run / "config.json")) == (LENET,)


def test_weights_decide_and_names_only_where_weights_are_not_known(tmp_path):
    other = tmp_path / "other.safetensors"
    parameters = {
        **embedded("mnist-lenet").parameters,
        "logits": {"kernel": np.zeros((128, 10)), "bias": np.zeros(10)},
    }
    weights.write(other, parameters, {"network": "mnist-lenet"})
    theirs, mine = make_features(str(other), DIGIT), make_features("mnist-lenet", DIGIT)
    assert theirs.name == mine.name
    assert was_trained_on(mine, [LENET])
    assert not was_trained_on(theirs, [LENET])
    assert was_trained_on(theirs, [TrainingNetwork(str(other), weights.read(other).digest[:12])])
    assert was_trained_on(theirs, [TrainingNetwork("mnist-lenet")])
    assert was_trained_on(make_features("random", DIGIT), [TrainingNetwork("random")])
    assert not was_trained_on(
        mine, [TrainingNetwork("random"), TrainingNetwork("mnist-allconv", "0" * 12)]
    )


def test_the_judge_is_one_that_training_never_saw():
    def name(*seen, kind="mnist"):
        return neutral_name(kind, DIGIT, map(TrainingNetwork, seen))

    assert name() == name("random") == "mnist-lenet"
    assert name("mnist-lenet") == name("mnist-lenet", kind="stacked-mnist") == "mnist-allconv"
    assert name("mnist-allconv") == "mnist-lenet"
    assert name("cifar10-resnet", kind="cifar10") == "cifar10-allconv"
    assert name("mnist-lenet", "mnist-allconv") == "random"
    # all the same, and marked
    assert name("mnist-lenet", "mnist-allconv", "random") == "mnist-lenet"
    assert name("mnist-lenet", kind="own") == "random"

"""The trained networks that the package carries."""

from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.batches import as_floats
from otgan.data import Dataset, prepared
from otgan.models.classifiers import CLASSIFIERS
from otgan.weights.catalog import EMBEDDED, embedded

pytestmark = pytest.mark.slow

LEAST = {
    "mnist-lenet": 0.993,
    "mnist-allconv": 0.993,
    "cifar10-resnet": 0.86,
    "cifar10-allconv": 0.88,
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_small_file_fits_its_network(name):
    assert len((files("otgan.weights") / f"{name}.safetensors").read_bytes()) <= 3e6
    parameters = embedded(name).parameters
    expected = jax.eval_shape(
        CLASSIFIERS[name]().init, jax.random.key(0), jnp.zeros((1, *CLASSIFIERS[name].shape))
    )["params"]
    assert jax.tree.map(np.shape, parameters) == jax.tree.map(np.shape, expected)
    assert all(np.isfinite(value).all() for value in jax.tree.leaves(parameters))


@pytest.mark.parametrize("name", EMBEDDED)
def test_facts_say_how_it_came_to_be(name):
    facts = embedded(name).facts
    assert facts["network"] == name
    assert float(facts["test_accuracy"]) >= LEAST[name]
    assert facts["epochs"].split(" of ")[0] == facts["epochs"].split(" of ")[1]
    assert {"data", "data_fingerprint", "recipe", "seed", "otgan"} <= set(facts)


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_judges_of_the_same_data_differ_in_build_and_seed(data):
    held = {name: embedded(name).facts for name in EMBEDDED if embedded(name).facts["data"] == data}
    assert all(name.startswith(f"{data}-") for name in held)  # by which the default is found
    assert (
        len({CLASSIFIERS[name] for name in held})
        == len({facts["seed"] for facts in held.values()})
        == len(held)
    )


@pytest.mark.tfds
@pytest.mark.parametrize("name", EMBEDDED)
def test_accuracy_is_what_the_facts_say(name, tfds_dir):
    held = embedded(name)
    data = prepared.load(held.facts["data"], tfds_dir)
    assert Dataset("", data.train, data.test).fingerprint == held.facts["data_fingerprint"]
    _, logits = jax.jit(CLASSIFIERS[name]().apply)(
        {"params": held.parameters}, as_floats(jnp.asarray(data.test[:2000]))
    )
    right = (np.argmax(logits, axis=1) == data.test_labels[:2000]).mean()
    assert right == pytest.approx(float(held.facts["test_accuracy"]), abs=0.01)

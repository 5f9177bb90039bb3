"""Agreement with pytorch-fid's network on seeded random weights.

`scripts/compare_inception.py --fixture` wrote its outputs.
"""

import jax
import numpy as np
import pytest

from otgan.models.inception import SIDE, Inception
from otgan.weights import inception as weights
from tests.support import REPOSITORY
from tests.support.compared import script


@pytest.fixture(scope="module")
def parameters():
    return weights.convert(script.random_state(script.SEED))


def test_outputs_equal_pytorch_fids(parameters):
    expected = np.load(REPOSITORY / "tests/fixtures/pytorch_fid.npz")
    pictures = script.random_pictures(script.SEED + 1, len(expected["pool3"]), 32)
    found = script.our_network(parameters)(pictures)
    # the pictures do differ
    assert expected["pool3"].std(axis=0).mean() > 0.01 * expected["pool3"].mean()
    for name in expected.files:
        ours, theirs = np.asarray(getattr(found, name))[:, :: script.EVERY], expected[name]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_logits_are_without_the_bias_unless_asked(parameters):
    picture = np.random.default_rng(0).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    pool3, logits = jax.jit(Inception().apply)({"params": parameters}, picture)
    np.testing.assert_allclose(
        logits, np.asarray(pool3, float) @ parameters["fc"]["kernel"], rtol=1e-4, atol=1e-4
    )


def test_every_parameter_is_the_networks(parameters):
    """Torchvision's network of 1,008 classes without auxiliary head has as many, with one bias for
    a batch normalization's four arrays.
    """
    assert (
        sum(array.size for layer in parameters.values() for array in layer.values()) == 23_833_744
    )
    shapes = weights.expected_shapes()
    assert len(shapes) == 94 * 5 + 2
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_6b.branch7x7dbl_5.conv.weight"] == (192, 128, 1, 7)
    assert shapes["Mixed_7c.branch3x3dbl_3b.bn.running_var"] == (384,)
    assert shapes["fc.weight"] == (1008, 2048)

import numpy as np
import pytest

from otgan.data import digits
from otgan.errors import UserError
from otgan.features import DIGIT_READERS, default_name, make_features

DIGIT, STACK, COLOR = (28, 28, 1), (32, 32, 3), (32, 32, 3)


@pytest.fixture(scope="module")
def examples():
    return digits.sample()[1]


def test_stacked_digits_are_looked_at_channel_by_channel(examples):
    stacked = digits.stack(examples, examples, 1_000)[0][:20]
    features, probabilities = make_features("mnist-lenet", STACK).look(stacked)
    alone = make_features("mnist-lenet", DIGIT)
    for channel in range(3):
        digit = stacked[
            :, digits.MARGIN : -digits.MARGIN, digits.MARGIN : -digits.MARGIN, channel : channel + 1
        ]
        expected, classes = alone.look(digit)
        np.testing.assert_allclose(
            features.reshape(20, 3, -1)[:, channel], expected, rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(probabilities[:, channel], classes[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DIGIT_READERS)
def test_classes_are_probabilities_and_mostly_right(examples, name):
    _, probabilities = make_features(name, DIGIT).look(examples)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    counts = np.bincount(np.argmax(probabilities[:, 0], -1), minlength=10)
    assert abs(counts - 50).max() <= 3  # the sample holds 50 of each out


@pytest.mark.parametrize(
    ("name", "shape", "dimension"),
    [
        ("mnist-lenet", DIGIT, 128),
        ("mnist-lenet", STACK, 384),
        ("mnist-allconv", DIGIT, 128),
        ("mnist-allconv", STACK, 384),
        ("random", (64, 64, 3), 128),
        ("pixels", COLOR, 3_072),
        ("points", (5,), 5),
    ],
)
def test_the_dimension_is_that_of_the_features(name, shape, dimension):
    features = make_features(name, shape)
    assert features.dimension == dimension
    assert features.look(np.zeros((2, *shape), np.float32))[0].shape == (2, dimension)


def test_bytes_and_levels_are_looked_at_alike(examples):
    features = make_features("random", DIGIT)
    np.testing.assert_allclose(
        features.look(examples[:9])[0], features.look(examples[:9].astype(np.float32))[0]
    )


def test_only_the_inception_has_plain_names():
    assert make_features("random", DIGIT).names("fid") == "fid[random]"
    assert make_features("mnist-lenet", DIGIT).names("fid") == "fid[mnist-lenet]"


def test_defaults_are_the_networks_of_the_data():
    shapes = {
        "mnist": DIGIT,
        "stacked-mnist": STACK,
        "cifar10": COLOR,
        "own": (9, 9, 1),
        "grid": (2,),
    }
    assert [default_name(kind, shape) for kind, shape in shapes.items()] == [
        "mnist-lenet",
        "mnist-lenet",
        "cifar10-resnet",
        "random",
        "points",
    ]


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("lenet", DIGIT, "there are no features 'lenet': choose inception, mnist-lenet"),
        ("mnist-lenet", (16, 16, 1), "mnist-lenet reads 28 x 28 gray images and stacked digits"),
        ("cifar10-resnet", DIGIT, "cifar10-resnet reads 32 x 32 color images"),
        ("pixels", (2,), "looks at images; the examples are points"),
        ("points", DIGIT, "--features points is for points"),
    ],
)
def test_what_does_not_fit_is_refused(name, shape, sentence):
    with pytest.raises(UserError, match=sentence):
        make_features(name, shape)


def test_weights_of_another_network_are_refused(tmp_path):
    from otgan import weights

    path = tmp_path / "other.safetensors"
    weights.write(
        path, {"logits": {"kernel": np.zeros((2, 3), np.float32)}}, {"network": "mnist-lenet"}
    )
    with pytest.raises(UserError, match="the weights do not fit the network"):
        make_features(str(path), DIGIT)
    weights.write(path, {"logits": {"kernel": np.zeros((2, 3), np.float32)}}, {})
    with pytest.raises(UserError, match="says that they are of 'nothing'"):
        make_features(str(path), DIGIT)

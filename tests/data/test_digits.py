import numpy as np
import pytest

from otgan import config
from otgan.data import digits, load
from tests.support import REPOSITORY

SAMPLE = config.Images(kind="mnist", source="sample")


def test_sample_is_split_in_equal_shares_of_every_class():
    packed = np.load(REPOSITORY / "otgan/data/mnist_sample.npz")
    label_of = {
        image.tobytes(): label
        for image, label in zip(packed["images"], packed["labels"], strict=True)
    }
    sample = load(SAMPLE)
    assert (sample.shape, sample.is_images, len(label_of)) == ((28, 28, 1), True, 5000)
    for part, each in ((sample.train, 450), (sample.test, 50)):
        labels = [label_of[image.tobytes()] for image in part]
        assert np.bincount(labels).tolist() == [each] * 10


def test_sample_is_small_and_never_changes():
    assert (REPOSITORY / "otgan/data/mnist_sample.npz").stat().st_size < 2_000_000
    assert load(SAMPLE).fingerprint == "744c255a7f4b"


@pytest.mark.tfds
def test_sample_is_of_the_training_digits_with_their_labels(mnist):
    label_of = {
        image.tobytes(): label for image, label in zip(mnist.train, mnist.train_labels, strict=True)
    }
    packed = np.load(REPOSITORY / "otgan/data/mnist_sample.npz")
    assert all(
        label_of[image.tobytes()] == label
        for image, label in zip(packed["images"], packed["labels"], strict=True)
    )


def test_every_channel_of_a_stack_is_a_digit_of_its_part():
    rng = np.random.default_rng(0)
    train, test = (
        rng.integers(0, 256, (40, 28, 28, 1), np.uint8),
        rng.integers(0, 256, (20, 28, 28, 1), np.uint8),
    )
    for pictures, source, count in zip(
        digits.stack(train, test, 1000), (train, test), (1000, 200), strict=True
    ):
        assert (pictures.shape, pictures.dtype) == ((count, 32, 32, 3), np.uint8)
        assert not pictures[:, [0, 1, -2, -1]].any()
        assert not pictures[:, :, [0, 1, -2, -1]].any()
        known = {digit.tobytes() for digit in source}
        inner = pictures[:, 2:-2, 2:-2]
        assert all(
            inner[i, ..., channel].tobytes() in known for i in range(count) for channel in range(3)
        )


def test_channels_of_a_stack_are_drawn_independently():
    shades = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None, None, None], (10, 28, 28, 1))
    pictures, _ = digits.stack(shades, shades, 50_000)
    modes = pictures[:, 16, 16].astype(int) @ [100, 10, 1]
    counts = np.bincount(modes, minlength=1000)
    # chi-squared with 999 degrees of freedom: 999 +- 45
    assert 800 < ((counts - 50) ** 2 / 50).sum() < 1200


def test_held_out_stacks_are_a_fifth_but_at_most_ten_thousand():
    shades = np.zeros((10, 28, 28, 1), np.uint8)
    assert [len(digits.stack(shades, shades, size)[1]) for size in (1000, 50_000, 60_000)] == [
        200,
        10_000,
        10_000,
    ]


def test_stacked_sample_never_changes():
    assert load(config.Stacked(source="sample", size=1000)).shape == (32, 32, 3)
    assert load(config.Stacked(source="sample")).fingerprint == "6d9af1c882cd"

"""`otgan features train`, and what its file is good for."""

import os
import signal
from typing import Any
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from otgan import weights
from otgan.batches import as_floats
from otgan.data import digits
from otgan.errors import UserError
from otgan.features import make_features
from otgan.learning import training
from otgan.learning.command import Order, learn
from otgan.models.encoders import Encoder
from tests.support.commands import otgan

pytestmark = [pytest.mark.usefixtures("elsewhere"), pytest.mark.slow]


def quiet(*_):
    pass


def pictures(tmp_path, n=120, shape=(9, 8, 3), name="mine.npz"):
    path = tmp_path / name
    np.savez(path, x=np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8))
    return path


def test_a_folder_of_pictures_becomes_features(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, picture in enumerate(np.load(pictures(tmp_path))["x"]):
        Image.fromarray(picture).save(folder / f"{i}.png")
    done = otgan("features", "train", "--data", folder, "-o", "mine.safetensors", "--steps", 2)
    assert done.exit_code == 0, done.output
    assert "2 steps" in done.output
    read = weights.read(tmp_path / "mine.safetensors")
    known = {
        "network": "encoder",
        "shape": "9 8 3",
        "method": "variance",
        "steps": "2",
        "seed": "0",
        "pictures": "108",
        "complete": "yes",
    }
    assert known.items() <= read.facts.items()
    assert len(read.facts["data_fingerprint"]) == 12
    features = make_features(str(tmp_path / "mine.safetensors"), (9, 8, 3))
    assert features.dimension == 128
    assert features.names("fid") == f"fid[encoder-{read.digest[:8]}]"
    with pytest.raises(UserError, match="pictures of 9 x 8 x 3, not of 9 x 9 x 3"):
        make_features(str(tmp_path / "mine.safetensors"), (9, 9, 3))


def test_eval_judges_by_it(tmp_path):
    path = pictures(tmp_path)
    learn(Order(str(path), tmp_path / "mine.safetensors", steps=1), quiet, quiet)
    words = [
        "--features",
        "mine.safetensors",
        "--reference",
        path,
        "--split",
        "train",
        "--allow-few",
        "--samples",
        100,
    ]
    done = otgan("eval", path, "--fid", *words)
    assert done.exit_code == 0, done.output
    assert "fid[encoder-" in done.output


def test_large_pictures_are_looked_at_whole_by_the_file_that_small_ones_trained(tmp_path):
    """Training sees them shrunk; the file says their true shape, and its features of them are those
    of the shrunk ones.
    """
    path = pictures(tmp_path, shape=(64, 66, 1))
    learn(Order(str(path), tmp_path / "large.safetensors", steps=1), quiet, quiet)
    x = np.load(path)["x"][:2]
    read = weights.read(tmp_path / "large.safetensors")
    assert read.facts["shape"] == "64 66 1"
    small = (x.astype(np.float32) / 127.5 - 1).reshape(2, 32, 2, 33, 2, 1).mean(axis=(2, 4))
    expected: Any = Encoder((32, 33, 1)).apply({"params": read.parameters}, jnp.asarray(small))
    found = make_features(str(tmp_path / "large.safetensors"), (64, 66, 1)).look(x)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_seed_makes_one_file(tmp_path):
    path = pictures(tmp_path)
    made = [
        learn(Order(str(path), tmp_path / f"{i}.safetensors", steps=3, seed=seed), quiet, quiet)
        for i, seed in enumerate((1, 1, 2))
    ]
    assert made[0].digest == made[1].digest != made[2].digest


def test_features_are_centered_and_uncorrelated_on_the_pictures(tmp_path):
    learn(Order(str(pictures(tmp_path)), tmp_path / "mine.safetensors", steps=2), quiet, quiet)
    x = np.asarray(
        make_features(str(tmp_path / "mine.safetensors"), (9, 8, 3)).look(
            np.load(tmp_path / "mine.npz")["x"]
        )[0],
        np.float64,
    )
    variances = np.diag(np.cov(x.T))
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.2 * np.sqrt(variances[0]))
    assert variances[0] == variances.max()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--data", "few.npz", "-o", "a.safetensors"],
            "few.npz holds 50 examples: at least 100 are needed",
        ),
        (
            ["--data", "small.npz", "-o", "a.safetensors"],
            "pictures of 7 x 9 pixels: at least 8 x 8 are needed",
        ),
        (
            ["--data", "points.npz", "-o", "a.safetensors"],
            "holds points, which are their own features",
        ),
        (["--data", "nothing.npz", "-o", "a.safetensors"], "does not exist"),
        (["--data", "cifar10", "-o", "a.safetensors"], "CIFAR-10 is not prepared"),
        (["--data", "mine.npz", "-o", "a.npz"], "let its name end in .safetensors"),
        (["--data", "mine.npz", "-o", "there.safetensors"], "there.safetensors exists"),
        (["--data", "mine.npz", "-o", "no/where.safetensors"], "cannot be written"),
    ],
)
def test_what_is_wrong_is_said_before_training(tmp_path, words, sentence):
    pictures(tmp_path)
    pictures(tmp_path, 50, name="few.npz")
    pictures(tmp_path, 120, (7, 9, 1), name="small.npz")
    np.savez("points.npz", x=np.random.default_rng(0).standard_normal((200, 2)))
    (tmp_path / "there.safetensors").write_text("mine")
    with mock.patch.object(training, "make_task", side_effect=AssertionError):
        done = otgan("features", "train", *words)
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())
    assert not (tmp_path / "a.safetensors").exists()
    assert (tmp_path / "there.safetensors").read_text() == "mine"


def test_a_loss_that_is_not_finite_writes_nothing(tmp_path):
    pictures(tmp_path)
    with mock.patch.object(training, "as_floats", lambda x: x * np.float32("nan")):
        done = otgan("features", "train", "--data", "mine.npz", "-o", "a.safetensors", "--steps", 5)
    assert done.exit_code == 2
    assert "the loss is not finite after 1 steps: nothing was written" in done.output
    assert not (tmp_path / "a.safetensors").exists()


def test_ctrl_c_keeps_what_was_trained_so_far(tmp_path):
    def stop(progress):
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    found = learn(
        Order(str(pictures(tmp_path)), tmp_path / "a.safetensors", steps=1_000), stop, quiet
    )
    assert found.stopped
    assert found.progress.step == 3
    facts = weights.read(tmp_path / "a.safetensors").facts
    assert (facts["steps"], facts["complete"]) == ("3", "stopped at 0%")
    make_features(str(tmp_path / "a.safetensors"), (9, 8, 3))


def test_ctrl_c_before_the_first_step_leaves_nothing_and_says_so(tmp_path):
    pictures(tmp_path)
    real = training.make_task

    def stop(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    with mock.patch.object(training, "make_task", stop):
        done = otgan("features", "train", "--data", "mine.npz", "-o", "a.safetensors", "--steps", 5)
    assert done.exit_code == 130
    assert "stopped before the first step: nothing was written" in done.output
    assert not list(tmp_path.glob("a.safetensors*"))


@pytest.mark.slow
def test_learned_features_tell_digits_apart_better_than_untrained_ones():
    """By a linear classifier on them, whose labels serve for nothing else: docs/features.md."""
    images, labels = digits._embedded()
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    encoder, cut = Encoder((28, 28, 1)), 4_500

    def right(method, steps):
        parameters: Any
        parameters, _ = training.train(
            encoder, method, images[:cut], 0, steps, None, quiet, lambda: False
        )
        seen: Any = encoder.apply({"params": parameters}, as_floats(jnp.asarray(images)))
        x = np.asarray(seen, np.float64)
        x = (x - x[:cut].mean(axis=0)) / x[:cut].std(axis=0)
        ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        a, b = ones[:cut], np.eye(10)[labels[:cut]]
        weights = np.linalg.solve(a.T @ a + 45 * np.eye(a.shape[1]), a.T @ b)
        return ((ones[cut:] @ weights).argmax(axis=1) == labels[cut:]).mean()

    untrained = right("variance", 1)
    assert right("variance", 200) > untrained + 0.01
    assert right("contrastive", 200) > untrained + 0.02

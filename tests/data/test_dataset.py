import subprocess
import sys

import numpy as np
import pytest

from otgan import config
from otgan.data import Dataset, load, load_source


def test_grid_has_its_modes_around_the_origin():
    grid = load(config.Grid(side=3, spacing=2.0, sd=0.1))
    assert sorted(map(tuple, grid.centers.tolist())) == [
        (x, y) for x in (-2, 0, 2) for y in (-2, 0, 2)
    ]
    assert (grid.name, grid.sd, grid.shape, grid.is_images) == ("grid", 0.1, (2,), False)
    assert grid.train.dtype == grid.test.dtype == np.float32


@pytest.mark.parametrize(("side", "spacing", "sd"), [(5, 2.0, 0.1), (2, 10.0, 0.5)])
def test_grid_points_are_draws_from_its_gaussians(side, spacing, sd):
    grid = load(config.Grid(side=side, spacing=spacing, sd=sd, size=20_000))
    for points in (grid.train, grid.test):
        offsets = points[:, None] - grid.centers
        nearest = (offsets**2).sum(-1).argmin(1)
        noise = offsets[np.arange(len(points)), nearest]
        counts = np.bincount(nearest, minlength=side**2)
        assert noise.std() == pytest.approx(sd, rel=0.05)
        assert abs(noise.mean(0)).max() < 4 * sd / np.sqrt(len(points))
        if points is grid.test:
            assert counts.tolist() == [80] * side**2
        else:  # drawn, not dealt: chi-squared with side^2 - 1 degrees of freedom
            expected = len(points) / side**2
            assert 0 < ((counts - expected) ** 2 / expected).sum() < 3 * side**2


def test_grid_never_changes():
    assert load(config.Grid()).fingerprint == load(config.Grid()).fingerprint == "d003f09f0562"


def test_grid_train_and_test_are_different_draws():
    grid = load(config.Grid())
    assert not set(map(tuple, grid.train[:].tolist())) & set(map(tuple, grid.test[:].tolist()))


def test_fingerprint_sees_values_shapes_types_and_parts():
    zeros = np.zeros((6, 4), np.float32)
    changed = zeros.copy()
    changed[5, 3] = 1
    variants = [
        (zeros, zeros),
        (changed, zeros),
        (zeros, changed),
        (zeros.reshape(4, 6), zeros),
        (zeros.view(np.int32), zeros),
    ]
    assert len({Dataset("x", train, test).fingerprint for train, test in variants}) == len(variants)
    assert (
        Dataset("x", zeros, zeros).fingerprint
        == Dataset("y", zeros[::1].copy(order="F"), zeros).fingerprint
    )


def test_own_data_go_through_load(tmp_path):
    np.savez(tmp_path / "points.npz", x=np.random.default_rng(0).normal(size=(200, 3)))
    own = load(config.UserData(path=str(tmp_path / "points.npz"), held_out=0.25))
    assert (own.name, own.train.shape, own.test.shape, own.centers) == (
        "own",
        (150, 3),
        (50, 3),
        None,
    )


def test_the_layer_imports_neither_jax_nor_tfds():
    code = (
        "import sys, otgan.data.catalog; print([m for m in ('jax', 'tensorflow',"
        " 'tensorflow_datasets') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_a_gray_source_takes_on_the_channels_of_data_in_color(tmp_path):
    gray = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "gray.npz", x=np.repeat(gray, 3, axis=3))
    run = config.Config(
        name="x",
        data=config.UserData(path="unused"),
        source=config.UserData(path=str(tmp_path / "gray.npz")),
        oracle=config.Convex(composite=True),
        cost=config.Cost(name="squared_l2"),
        generator=config.Generator(kind="identity"),
    )
    one, three = (load_source(run, (8, 8, channels)) for channels in (1, 3))
    assert one.shape == (8, 8, 1)
    np.testing.assert_array_equal(three.train, np.repeat(one.train, 3, axis=3))
    np.testing.assert_array_equal(three.test, np.repeat(one.test, 3, axis=3))

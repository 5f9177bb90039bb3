"""What a run's map is measured by is read and refused before anything is trained."""

import json
from pathlib import Path

import numpy as np
import pytest

from otgan import experiments
from otgan.data import load_truth
from otgan.errors import UserError
from tests.support.commands import otgan

X = np.arange(12.0).reshape(6, 2)


def truth(path, shape=(2,)):
    return load_truth(experiments.resolve("convex-map", {"truth": str(path)}), shape)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_points_and_their_images_are_read_as_they_are(tmp_path):
    path = save(tmp_path / "T.npz", x=X, y=2 * X, z=X)
    found = truth(path)
    np.testing.assert_array_equal(found.x, X.astype(np.float32))
    np.testing.assert_array_equal(found.y, 2 * X.astype(np.float32))
    assert found.x.dtype == found.y.dtype == np.float32
    line = truth(save(path, x=X[:, 0], y=X[:, 1]), shape=(1,))
    assert line.x.shape == line.y.shape == (6, 1)


def test_a_run_without_one_has_none():
    assert load_truth(experiments.resolve("convex-map"), (2,)) is None


INFINITE = np.where(X == 3, np.inf, X)
UNFIT = {
    "no images": ({"x": X}, "has no array 'y': it holds x; write it with numpy.savez"),
    "no points": ({"y": X, "z": X}, "has no array 'x': it holds y, z"),
    "another dimension": ({"x": X, "y": X[:, :1]}, r"y of .* holds points of shape \(1,\)"),
    "both of another": ({"x": X[:, :1], "y": X[:, :1]}, r"x of .* holds points of shape \(1,\)"),
    "infinite": ({"x": INFINITE, "y": X}, "1 of the 6 examples in x of .* hold NaN, infinity"),
    "no number": ({"x": X, "y": X * np.nan}, "6 of the 6 examples in y of .* hold NaN, infinity"),
    "other lengths": ({"x": X, "y": X[:5]}, "holds 6 points x and 5 images y: each needs its own"),
    "one": ({"x": X[:1], "y": X[:1]}, "the 1 images y in .* do not vary"),
    "none": ({"x": X[:0], "y": X[:0]}, "the 0 images y in .* do not vary"),
    "constant": ({"x": X, "y": 0 * X}, "the 6 images y in .* do not vary"),
    "words": ({"x": X, "y": X.astype(str)}, "y of .* holds values of type <U"),
    "pickles": ({"x": X, "y": X.astype(object)}, "holds Python objects, which otgan never"),
    "one number": ({"x": X, "y": np.float64(3)}, r"y of .* holds an array of shape \(\)"),
}


@pytest.mark.parametrize("which", UNFIT)
def test_what_is_unfit_is_one_sentence(tmp_path, which):
    arrays, sentence = UNFIT[which]
    with pytest.raises(UserError, match=sentence) as refused:
        truth(save(tmp_path / "T.npz", **arrays))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_none_or_is_damaged_is_one_sentence(tmp_path):
    path = tmp_path / "T.npz"
    with pytest.raises(UserError, match=r"truth: there is no file .*T.npz: give an .npz with"):
        truth(path)
    path.write_text("x")
    with pytest.raises(UserError, match=r"is no .npz file, or is cut short"):
        truth(path)
    whole = save(path, x=X, y=X).read_bytes()
    path.write_bytes(whole.replace(X.tobytes(), X[::-1].tobytes(), 1))
    with pytest.raises(UserError, match=r"T.npz is damaged"):
        truth(path)


def test_pictures_have_none(tmp_path):
    with pytest.raises(UserError, match="truth measures maps of points"):
        truth(save(tmp_path / "T.npz", x=X, y=X), shape=(28, 28, 1))


def test_only_a_map_from_a_source_has_one():
    with pytest.raises(UserError, match="truth has the true images") as refused:
        experiments.resolve("convex-grid", {"truth": "T.npz"})
    assert "\n" not in str(refused.value)


def test_its_path_is_recorded_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = experiments.resolve("convex-map", {"truth": "T.npz"})
    assert config.truth == str(tmp_path / "T.npz")
    assert json.loads(config.json())["truth"] == config.truth


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_nothing_is_trained_where_it_is_refused(words):
    save("T.npz", x=X, y=X[:5])
    for name, sentence in {"T.npz": "6 points x and 5 images y", "none.npz": "no file"}.items():
        refused = otgan("run", "convex-map", *words, "--set", f"truth={name}", "--out", "map")
        assert refused.exit_code == 2, refused.output
        assert sentence in " ".join(refused.output.split())
    assert not Path("map").exists()

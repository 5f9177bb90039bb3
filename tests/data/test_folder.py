"""Folders of any pictures: made alike where that is asked for, and all faults told at once."""

import errno
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from otgan.config import UserData
from otgan.data import decoding, folder, own
from otgan.errors import UserError

RNG = np.random.default_rng(0)


def noise(height, width, channels=3):
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


def write(folder_, pictures):
    """Each under its name, in subfolders that are made."""
    for name, picture in pictures.items():
        (folder_ / name).parent.mkdir(parents=True, exist_ok=True)
        kind = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        kind.save(folder_ / name)
    return folder_


def read(path, **wanted):
    return own.read(UserData(path=str(path), **wanted))


# --- made alike -----------------------------------------------------------------------------------


def test_the_square_in_the_middle_is_kept(tmp_path):
    wide, high = noise(10, 17), noise(14, 10)
    found = read(write(tmp_path, {"a.png": wide, "b.png": high}), crop="center")
    np.testing.assert_array_equal(found.values[0], wide[:, 3:13])
    np.testing.assert_array_equal(found.values[1], high[2:12])


def test_the_shorter_side_is_scaled_and_proportions_stay(tmp_path):
    """Means over blocks of pixels are what scaling down comes near to."""
    ramp = np.broadcast_to(np.linspace(0, 255, 96).astype(np.uint8), (64, 96))
    found = read(write(tmp_path, {"a.png": ramp}), resize=16)
    assert found.values.shape == (1, 16, 24, 1)
    blocks = ramp.reshape(16, 4, 24, 4).mean((1, 3))
    assert abs(found.values[0, :, 1:-1, 0] - blocks[:, 1:-1]).max() < 2


def test_pictures_of_any_size_become_one_and_those_enlarged_are_counted(tmp_path):
    sizes = [(8, 9), (40, 31), (16, 16), (300, 20)]
    write(tmp_path, {f"{i}.png": noise(*size) for i, size in enumerate(sizes)})
    found = read(tmp_path, resize=16, crop="center")
    assert found.values.shape == (4, 16, 16, 3)
    assert "1 of them smaller than 16 pixels, enlarged" in found.notes


@pytest.mark.parametrize(
    ("channels", "of_gray", "of_color"), [("auto", 1, 3), ("gray", 1, 1), ("rgb", 3, 3)]
)
def test_channels_are_those_asked_for(tmp_path, channels, of_gray, of_color):
    gray = write(tmp_path / "gray", {"a.png": noise(9, 9, 1)[..., 0]})
    color = write(tmp_path / "color", {"a.png": noise(9, 9)})
    shapes = [read(path, channels=channels).values.shape for path in (gray, color)]
    assert shapes == [(1, 9, 9, of_gray), (1, 9, 9, of_color)]


def test_an_array_of_pictures_is_prepared_as_a_folder_is(tmp_path):
    pictures = np.stack([noise(20, 31) for _ in range(5)])
    write(tmp_path / "files", {f"{i}.png": picture for i, picture in enumerate(pictures)})
    np.savez(tmp_path / "x.npz", x=pictures)
    np.save(tmp_path / "x.npy", pictures)
    for wanted in ({}, {"resize": 8, "crop": "center", "channels": "gray"}, {"resize": 12}):
        expected = read(tmp_path / "files", **wanted).values
        for name in ("x.npz", "x.npy"):
            np.testing.assert_array_equal(read(tmp_path / name, **wanted).values, expected)


# --- what is said ---------------------------------------------------------------------------------


def test_what_is_skipped_is_counted_and_said(tmp_path):
    write(tmp_path, {"a.png": noise(9, 8), "b.gif": Image.new("P", (9, 9))})
    write(tmp_path, {"c.gif": Image.new("P", (9, 9)), "d/e.PNG": noise(9, 8)})
    for name in (".DS_Store", ".f.png", "notes.txt", "README"):
        (tmp_path / name).write_text("")
    found = read(tmp_path)
    assert found.notes[0] == f"{tmp_path.name}: 2 pictures of 8 x 9 pixels, in color"
    (skipped,) = found.notes[1:]
    assert Counter(skipped.removeprefix("skipped: ").split(", ")) == Counter(
        ["2 .gif files", "2 hidden files", "1 .txt file", "1 suffixless file"]
    )


def test_transparency_is_said_where_it_shows(tmp_path):
    opaque, clear = (Image.new("RGBA", (8, 8), (1, 2, 3, alpha)) for alpha in (255, 9))
    write(tmp_path / "a", {"a.png": opaque})
    write(tmp_path / "b", {"a.png": opaque, "b.png": clear})
    assert len(read(tmp_path / "a").notes) == 1
    assert read(tmp_path / "b").notes[1] == "1 of them with transparent parts, laid onto white"


def test_of_several_frames_the_first_is_taken_and_that_is_said(tmp_path):
    frames = [Image.fromarray(noise(9, 9)) for _ in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    found = read(tmp_path)
    np.testing.assert_array_equal(found.values[0], np.asarray(frames[0]))
    assert "1 of them with several frames, of which the first is taken" in found.notes


# --- labels ---------------------------------------------------------------------------------------


def test_subfolders_are_labels_where_all_pictures_lie_in_them(tmp_path):
    names = ["b/0.png", "a/x/1.png", "a/2.png", "c/3.png", "c/4.png", "b/5.png"]
    write(tmp_path, {name: noise(8, 8) for name in names})
    found = read(tmp_path)
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]  # in the order of the paths
    assert found.notes[0].endswith("in 3 subfolders, which are their labels")
    write(tmp_path, {"6.png": noise(8, 8)})
    assert read(tmp_path).labels is None


def test_a_subfolder_for_every_picture_is_no_label(tmp_path):
    write(tmp_path, {f"{i}/a.png": noise(8, 8) for i in range(6)})
    assert read(tmp_path).labels is None


# --- what is refused ------------------------------------------------------------------------------


def test_all_faults_of_a_folder_are_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MOST_PIXELS", 1_000)
    write(tmp_path, {f"{i}.png": noise(9, 9) for i in range(5)})
    write(
        tmp_path, {"large.png": noise(40, 40), "small.png": noise(7, 40), "odd.png": noise(9, 12)}
    )
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(UserError) as refused:
        read(tmp_path)
    first, *faults = str(refused.value).splitlines()
    assert first == f"{tmp_path} cannot be read as it is:"
    said = ["broken.png cannot be decoded", "empty.jpg cannot be decoded"]
    said += ["large.png is said to have 40 x 40 pixels, more than 1,000 in all"]
    said += ["small.png has 40 x 7 pixels, fewer than 8 x 8", "have 2: 9 x 9 (5, such as"]
    assert all(part in fault for part, fault in zip(said, faults, strict=True))
    assert faults[-1].endswith("or let otgan run do it with --resize 9 --crop center")


def test_the_remedy_repairs_what_it_is_for(tmp_path):
    sizes = [(30, 40), (30, 40), (8, 60), (33, 9)]
    write(tmp_path, {f"{i}.png": noise(*size) for i, size in enumerate(sizes)})
    with pytest.raises(UserError, match="--resize 30 --crop center"):
        read(tmp_path)
    assert read(tmp_path, resize=30, crop="center").values.shape == (4, 30, 30, 3)


def test_of_many_faults_the_first_ten_are_named(tmp_path):
    for i in range(25):
        (tmp_path / f"{i:02}.png").write_bytes(b"")
    with pytest.raises(UserError) as refused:
        read(tmp_path)
    lines = str(refused.value).splitlines()
    assert len(lines) == 12
    assert "09.png" in lines[10]
    assert lines[11] == "  and 15 more files"


@pytest.mark.parametrize("side", [9_000, 14_000, 20_000])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch, side):
    """On both sides of the sizes at which Pillow warns, and refuses."""
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(UserError, match=r"a\.png .* pixels.*: scale it down first"):
        read(tmp_path)


def test_pictures_of_one_pixel_are_refused(tmp_path):
    write(tmp_path, {f"{i}.png": noise(1, 1) for i in range(3)})
    for wanted in ({}, {"resize": 16, "crop": "center"}):
        with pytest.raises(UserError, match=r"2\.png has 1 x 1 pixels, fewer than 8 x 8"):
            read(tmp_path, **wanted)


def test_pictures_of_too_many_values_are_refused_after_the_first(tmp_path):
    write(tmp_path, {"a.png": Image.new("RGB", (600, 600)), "b.png": Image.new("RGB", (9, 9))})
    with pytest.raises(UserError, match=r"every example in .* has 1,080,000 values"):
        read(tmp_path)


def test_keys_of_files_are_refused(tmp_path):
    write(tmp_path, {"a.png": noise(9, 9)})
    with pytest.raises(UserError, match="is a folder: leave out --columns and --label, for files"):
        read(tmp_path, columns=("a",), label="b")


def test_a_folder_of_others_says_what_it_holds(tmp_path):
    write(tmp_path, {"a.gif": Image.new("P", (9, 9))})
    with pytest.raises(UserError, match=r"holds no pictures: .*, and it holds 1 \.gif file"):
        read(tmp_path)


@pytest.mark.parametrize("look", [read, lambda path: folder.sizes(path)])
def test_a_subfolder_that_cannot_be_read_is_refused_by_name(tmp_path, monkeypatch, look):
    """Tests may run as root, who can read all."""
    write(tmp_path, {f"{kind}/{i}.png": noise(9, 9) for kind in "ab" for i in range(3)})
    scandir = os.scandir

    def locked(path):
        if str(path).endswith("a"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(UserError, match=r"/a cannot be read \(Permission denied\): give yourself"):
        look(tmp_path)

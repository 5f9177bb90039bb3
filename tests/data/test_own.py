import io
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from otgan import suggest
from otgan.config import UserData
from otgan.data import arrays, decoding, own
from otgan.errors import UserError


def points(count=200, d=3):
    return np.random.default_rng(0).normal(size=(count, d))


def pictures(count=120, channels=3, side=8):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


@pytest.fixture
def save(tmp_path):
    def write(*args, **arrays):
        np.savez(tmp_path / "data.npz", *args, **arrays)
        return tmp_path / "data.npz"

    return write


def rows(array):
    return sorted(row.tobytes() for row in array)


def load(path, held_out=0.1, **wanted):
    return own.load(UserData(path=str(path), held_out=held_out, **wanted))


def read(path, **wanted):
    return own.read(UserData(path=str(path), **wanted)).values


def both(path, held_out=0.1):
    return np.concatenate(load(path, held_out)[:2])


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8])
def test_points_of_any_real_type_become_float32(save, dtype):
    given = (10 * abs(points())).astype(dtype)
    read = both(save(given))
    assert read.dtype == np.float32
    assert rows(read) == rows(given.astype(np.float32))


def test_a_row_of_numbers_is_points_of_one_coordinate(save, tmp_path):
    numbers = np.random.default_rng(0).normal(size=200)
    np.save(tmp_path / "x.npy", numbers)
    for path in (save(x=numbers, kind=numbers > 0), tmp_path / "x.npy"):
        label = "kind" if path.suffix == ".npz" else None
        found = own.read(UserData(path=str(path), label=label))
        np.testing.assert_array_equal(found.values, numbers[:, None].astype(np.float32))
        assert found.columns == ("0",)
        assert found.notes == (f"{path.name}: 200 numbers, each a point",)
    assert suggest.resolve("points", source=str(path)).generator.latent_dim == 1


def test_points_too_far_out_for_their_digits_are_told(save):
    constant = np.c_[points(), np.full(200, 1e9)]
    assert own.read(UserData(path=str(save(constant)))).notes == ()
    (note,) = own.read(UserData(path=str(save(points() + 1e6)))).notes
    assert "subtract their mean first, in double precision" in note


def test_split_is_fixed_disjoint_and_of_the_asked_share(save):
    path = save(np.arange(400.0).reshape(200, 2))
    train, test = load(path, 0.25)[:2]
    assert (len(train), len(test)) == (150, 50)
    assert not set(rows(train)) & set(rows(test))
    again = load(path, 0.25)
    assert np.array_equal(train, again[0])
    assert np.array_equal(test, again[1])
    assert test[:, 0].max() > 300  # drawn from everywhere, not the head of the file
    assert test[:, 0].min() < 100


@pytest.mark.parametrize("name", ["x", "images", "train"])
def test_a_named_array_is_found_among_others(save, name):
    assert rows(both(save(**{name: pictures(), "labels": np.zeros(120)}))) == rows(pictures())


def test_pictures_in_bytes_are_kept_and_gray_ones_get_a_channel(save):
    assert rows(both(save(pictures(channels=1)[..., 0]))) == rows(pictures(channels=1))
    assert both(save(pictures(channels=1)[..., 0])).shape[1:] == (8, 8, 1)


@pytest.mark.parametrize(("low", "scale"), [(0, 1), (-1, 2)])
def test_float_pictures_become_the_bytes_they_came_from(save, low, scale):
    given = (low + scale * (pictures() / 255)).astype(np.float32)
    read = both(save(given))
    assert read.dtype == np.uint8
    assert rows(read) == rows(pictures())


def test_a_folder_is_read_recursively_as_it_is(tmp_path):
    for i, picture in enumerate(pictures()):
        file = tmp_path / f"class{i % 3}" / f"{i:03}.{['png', 'PNG', 'bmp', 'webp'][i % 4]}"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(file, lossless=True)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._000.png").write_text("what macOS leaves behind")
    assert rows(both(tmp_path)) == rows(pictures())


def test_jpeg_is_read(tmp_path):
    for i in range(100):
        Image.new("RGB", (9, 8), (2 * i, 100, 50)).save(tmp_path / f"{i:03}.jpeg", quality=95)
    read = both(tmp_path)
    assert read.shape == (100, 8, 9, 3)
    assert abs(np.sort(read[:, 4, 4, 0].astype(int)) - 2 * np.arange(100)).max() <= 3


def fill(folder, special, mode="L"):
    """99 gray pictures and a special one, which is returned as read."""
    for i in range(99):
        Image.new(mode, (8, 8), i + 1 if mode == "L" else (i + 1,) * 3).save(folder / f"{i:03}.png")
    special.save(folder / "z.png")
    return read(folder)[-1]


def test_gray_pictures_stay_gray(tmp_path):
    assert (fill(tmp_path, Image.new("L", (8, 8), 200)) == np.full((8, 8, 1), 200)).all()


def test_one_color_picture_makes_all_of_them_color(tmp_path):
    assert (
        fill(tmp_path, Image.new("RGB", (8, 8), (1, 2, 3))) == np.full((8, 8, 3), (1, 2, 3))
    ).all()
    assert (read(tmp_path)[4] == np.full((8, 8, 3), 5)).all()


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0, (255, 255, 255)), (255, (10, 20, 30)), (51, (206, 208, 210))]
)
def test_transparency_is_laid_onto_white(tmp_path, alpha, expected):
    assert (
        fill(tmp_path, Image.new("RGBA", (8, 8), (10, 20, 30, alpha)))
        == np.full((8, 8, 3), expected)
    ).all()


def test_gray_with_transparency_stays_gray(tmp_path):
    assert (fill(tmp_path, Image.new("LA", (8, 8), (7, 0))) == np.full((8, 8, 1), 255)).all()


def test_sixteen_bits_of_gray_keep_their_range(tmp_path):
    read = fill(
        tmp_path, Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8))
    )
    assert abs(read[..., 0].astype(int).ravel() - np.linspace(0, 255, 64)).max() <= 1


def test_palettes_become_color(tmp_path):
    picture = Image.new("RGB", (8, 8), (250, 0, 0)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert (fill(tmp_path, picture) == np.full((8, 8, 3), (250, 0, 0))).all()


def test_a_picture_is_turned_the_way_its_camera_was(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    lying = np.zeros((8, 16), np.uint8)
    lying[0] = 255
    Image.fromarray(lying).save(tmp_path / "a.png", exif=exif)
    turned = read(tmp_path)[0]
    assert turned.shape == (16, 8, 1)
    assert (turned[:, -1] == 255).all()


@pytest.mark.parametrize("as_folder", [False, True])
def test_gray_stored_as_color_is_gray(tmp_path, save, as_folder):
    gray = pictures(channels=1)
    color = np.repeat(gray, 3, axis=3)
    if as_folder:
        for i, picture in enumerate(color):
            Image.fromarray(picture).save(tmp_path / f"{i:03}.png")
    path = tmp_path if as_folder else save(color)
    np.testing.assert_array_equal(read(path), gray)
    assert rows(both(path)) == rows(gray)


def test_one_pixel_of_color_keeps_all_channels(save):
    color = np.repeat(pictures(channels=1), 3, axis=3)
    color[100, 3, 4, 2] ^= 1
    np.testing.assert_array_equal(read(save(color)), color)


# --- what is refused ------------------------------------------------------------------------------


def holed(array, *where):
    array = array.copy()
    for value, at in zip((np.nan, np.inf, np.nan), where, strict=False):
        array[at] = value
    return array


ARRAYS = {
    "a number": (np.array(3.0), r"shape \(\): points are \(n, d\) or \(n,\)"),
    "five axes": (np.zeros((200, 8, 8, 3, 1)), "pictures"),
    "no columns": (np.zeros((200, 0)), r"shape \(200, 0\)"),
    "two channels": (np.zeros((200, 8, 8, 2), np.uint8), "c = 1 or 3"),
    "channels first": (np.zeros((200, 3, 8, 8), np.uint8), "channels last"),
    "complex": (points() + 1j, "type complex128"),
    "text": (np.array([["a", "b"]] * 200), "type <U1"),
    "booleans": (np.ones((200, 2), bool), "type bool"),
    "objects": (np.array([[1, None]] * 200, object), "Python objects, which otgan never unpickles"),
    "holes": (
        holed(points(), (3, 0), (3, 1), (7, 2)),
        "2 of the 200 examples in .* hold NaN, infinity",
    ),
    "too large": (
        points() * 1e300,
        "200 of the 200 examples in .* hold NaN, infinity or a number beyond float32",
    ),
    "holes in pictures": (
        holed(pictures() / 255, (3, 0, 0, 0), (9, 1, 1, 1)),
        "2 of the 120 examples",
    ),
    "few": (points(99), "holds 99 examples: at least 100"),
    "empty": (np.zeros((0, 3)), "holds 0 examples"),
    "no pictures": (np.zeros((0, 8, 8, 3), np.float32), "holds 0 examples"),
    "small pictures": (pictures(side=7), "7 x 7 pixels: at least 8 x 8"),
    "constant": (np.ones((200, 2)), "all 200 examples .* are the same"),
    "one picture": (np.repeat(pictures(1), 200, axis=0), "all 200 examples .* are the same"),
    "wide floats": (
        pictures().astype(np.float32),
        r"float pictures from 0 to 255: scale them to \[0, 1\]",
    ),
    "integers": (pictures().astype(np.int64), "pictures of type int64: save them as uint8"),
}


@pytest.mark.parametrize(("array", "message"), ARRAYS.values(), ids=ARRAYS.keys())
def test_unfit_arrays_are_refused(save, array, message):
    path = save(array)
    with pytest.raises(UserError, match=message) as refused:
        load(path, 0.1)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_several_arrays_are_refused_by_name(save):
    with pytest.raises(UserError, match=r"several arrays \(a, b\): keep one, or name the data x"):
        load(save(a=points(), b=points()), 0.1)
    with pytest.raises(UserError, match=r"several arrays \(x, train\)"):
        load(save(x=points(), train=points()), 0.1)
    with pytest.raises(UserError, match="holds no array"):
        load(save(), 0.1)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.npz does not exist"):
        load(tmp_path / "nowhere.npz", 0.1)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"is no \.npz file"):
        load(tmp_path / "data.npz", 0.1)


def test_a_damaged_npz_is_refused(save):
    path = save(points(2000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"is no \.npz file, or is cut short"):
        load(path, 0.1)
    path.write_bytes(whole[:20_000] + bytes([whole[20_000] ^ 1]) + whole[20_001:])
    with pytest.raises(UserError, match="is damaged"):
        load(path, 0.1)


def write_header(path, shape, stored=64, dtype="<f4"):
    """An `.npz` whose header tells of a shape, over so many zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"shape": shape, "fortran_order": False, "descr": dtype}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(stored >> 24):
            member.write(bytes(1 << 24))
        member.write(bytes(stored % (1 << 24)))


@pytest.mark.parametrize(
    "shape", [(10**12, 3), (2**40, 2**40), (0, 10**30), (-1, 2), (10**4000, 1)], ids=range(5)
)
def test_a_header_that_claims_what_is_not_there_is_refused(tmp_path, shape):
    write_header(tmp_path / "x.npz", shape)
    with pytest.raises(UserError, match="is damaged"):
        read(tmp_path / "x.npz")


def test_an_array_beyond_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MOST_BYTES", 1 << 26)
    write_header(tmp_path / "x.npz", ((1 << 24) + 8, 1), (1 << 26) + 32)
    assert (tmp_path / "x.npz").stat().st_size < 1 << 20
    with pytest.raises(
        UserError, match="holds an array of 0 GiB, more than 0 GiB: take fewer examples"
    ):
        read(tmp_path / "x.npz")


def test_what_the_machine_has_no_memory_for_is_one_sentence(save):
    path = save(x=np.zeros((1 << 24, 8), np.int8))  # 128 MiB, and 512 as floats
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from otgan.config import UserData\n"
        "from otgan.data import own\n"
        "from otgan.errors import UserError\n"
        "held = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + (int(sys.argv[2]) << 20),) * 2)\n"
        "try:\n"
        "    own.read(UserData(path=sys.argv[1]))\n"
        "except UserError as error:\n"
        "    sys.exit(f'sentence: {error}')\n"
    )
    for megabytes in (64, 256):
        done = subprocess.run(
            [sys.executable, "-c", code, path, str(megabytes)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr.startswith("sentence: "), done.stderr
        assert "more than this machine's memory: take fewer examples" in done.stderr


def test_a_zip_of_something_else_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match="holds no array"):
        load(tmp_path / "data.npz", 0.1)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_that_leaves_too_few_is_refused(save, share):
    with pytest.raises(UserError, match="choose a held_out that leaves each part at least 10"):
        load(save(points()), share)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"holds no pictures: otgan reads \.bmp, \.jpeg, \.jpg, \.png, \.webp"
    ):
        load(tmp_path, 0.1)


def test_pictures_of_two_sizes_are_refused_by_name(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    Image.new("L", (9, 8)).save(tmp_path / "b.png")
    with pytest.raises(
        UserError, match=r"have 2: 8 x 8 \(1, such as .*a\.png\), 9 x 8 \(1, such as .*b\.png\)"
    ):
        load(tmp_path, 0.1)


@pytest.mark.parametrize(
    "damage", [lambda _: b"not a picture", lambda whole: whole[: len(whole) // 2], lambda _: b""]
)
def test_an_undecodable_picture_is_named(tmp_path, damage):
    for name in ("a.png", "b.png"):
        Image.fromarray(pictures(1, side=64)[0]).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(damage((tmp_path / "b.png").read_bytes()))
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "b.png")) + " cannot be decoded"):
        load(tmp_path, 0.1)


def test_a_folder_beyond_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MOST_BYTES", 100)
    for name in ("a.png", "b.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    with pytest.raises(UserError, match="holds 2 pictures of 8 x 8 pixels, more than"):
        load(tmp_path, 0.1)

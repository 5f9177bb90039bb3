"""Examples that stay in a file: what any index reads, blocks, and what decides."""

import numpy as np
import pytest
from PIL import Image

from otgan.config import UserData, parse_size
from otgan.data import Dataset, Form, OnDisk, blocks, large, ondisk
from otgan.data.ondisk import StoredArray, repeated
from otgan.errors import UserError

PLACES = [
    np.array([3, 3, 0]),
    np.arange(40)[::-1],
    np.array([[1, 2], [39, 1]]),
    np.array([], int),
    slice(5, 5),
    slice(2, 30, 7),
    -1,
    np.arange(40) % 3 == 0,
    np.zeros(40, bool),
]


def stored(folder, array):
    path = folder / "x.npy"
    np.save(path, array)
    return StoredArray(path, path.stat().st_size - array.nbytes, array.shape, array.dtype)


@pytest.mark.parametrize("near", [0, 10, ondisk.NEAR])
@pytest.mark.parametrize("shape", [(40,), (40, 2), (40, 3, 4), (40, 3, 4, 3)])
def test_an_index_reads_what_it_would_of_an_array(tmp_path, monkeypatch, shape, near):
    monkeypatch.setattr(ondisk, "NEAR", near)
    monkeypatch.setattr(ondisk, "BLOCK_BYTES", 100)
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    there = OnDisk.of(stored(tmp_path, array))
    mixed = np.random.default_rng(1).permutation(40)
    as_array, part = array.reshape(there.shape)[mixed], there.part(mixed)
    for index in PLACES:
        found = part[index]
        assert found.shape == as_array[index].shape
        np.testing.assert_array_equal(found, as_array[index])
    last = (there.shape[-1] - 1,)
    one = part.picking(last)
    np.testing.assert_array_equal(one[PLACES[2]], as_array[PLACES[2]][..., [*last]])
    np.testing.assert_array_equal(
        repeated(one, 3)[PLACES[2]], repeated(as_array[..., [*last]], 3)[PLACES[2]]
    )


def test_the_form_of_points_is_the_same_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(ondisk, "BLOCK_BYTES", 256)
    points = np.random.default_rng(0).normal(3, 2, (500, 3)).astype(np.float32)
    there = OnDisk.of(stored(tmp_path, points))
    assert len([*blocks(points)]) == len([*blocks(there)]) > 20
    forms = [Form.of(Dataset("own", rows, rows[:5])) for rows in (points, there)]
    assert forms[0] == forms[1]


def test_what_is_not_read_into_memory_at_all_stays_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8))
    asked = UserData(path=str(path), max_memory=parse_size("1GB"))
    assert large.read(path, asked) is None
    monkeypatch.setattr("otgan.data.room.MOST_BYTES", 40 * 8 * 8 * 3 - 1)
    found = large.read(path, asked)
    assert found
    assert isinstance(found.values, OnDisk)


@pytest.mark.parametrize("kind", ["array", "folder"])
def test_a_disk_without_room_is_refused_before_it_is_written_to(tmp_path, monkeypatch, kind):
    path, pictures = tmp_path / "x.npy", np.random.default_rng(0).random((40, 8, 8, 3))
    if kind == "array":
        np.save(path, pictures.astype(np.float32))  # of floats bytes are made
    else:
        path.mkdir()
        for k, picture in enumerate(pictures):
            Image.fromarray((255 * picture).astype(np.uint8)).save(path / f"{k}.png")
    cache = tmp_path / "cache"
    monkeypatch.setenv("OTGAN_CACHE", str(cache))
    asked = UserData(path=str(path), max_memory=parse_size("1KB"))
    monkeypatch.setattr(large, "free_bytes", lambda place: 40 * 8 * 8 * 3 - 1)
    with pytest.raises(UserError, match=r"nor for 0\.0 MiB of them in .*, where 0\.0 MiB are free"):
        large.read(path, asked)
    assert not cache.exists()
    monkeypatch.setattr(large, "free_bytes", lambda place: 40 * 8 * 8 * 3)
    assert large.read(path, asked)


def test_a_file_that_is_gone_or_short_is_a_sentence(tmp_path):
    there = stored(tmp_path, np.zeros((40, 5), np.float32))
    with pytest.raises(UserError, match="stays on the disk"):
        np.asarray(OnDisk.of(there))
    there.path.write_bytes(there.path.read_bytes()[:-30])
    with pytest.raises(UserError, match="cut short"):
        OnDisk.of(there)[np.arange(40)]

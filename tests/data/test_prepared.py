import json
import socket
import sys
import time
from typing import Any

import numpy as np
import pytest

from otgan import config, places
from otgan.data import catalog, load, prepared
from otgan.errors import UserError
from tests.support.tiny import write_tiny

FIELDS = ("train", "train_labels", "test", "test_labels")


@pytest.fixture
def offline(monkeypatch):
    """No network by force, and no TensorFlow that was not there before."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = "tensorflow" in sys.modules
    yield
    assert ("tensorflow" in sys.modules) == before


def same(read, truth):
    return all(np.array_equal(getattr(read, field), getattr(truth, field)) for field in FIELDS)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_records_are_read_as_they_were_written(tmp_path, file_format):
    tiny = write_tiny(tmp_path / "other", file_format)
    assert same(prepared.load("mnist", tiny.data_dir), tiny)


def test_load_hands_the_pictures_on(tiny):
    dataset = load(config.Images(kind="mnist"), tiny.data_dir)
    assert (dataset.name, dataset.shape, dataset.is_images) == ("mnist", (28, 28, 1), True)
    assert np.array_equal(dataset.train, tiny.train)
    assert np.array_equal(dataset.test, tiny.test)


def test_the_newest_whole_version_is_read(tiny):
    write_tiny(tiny.data_dir, version="3.0.9", seed=2)
    newest = write_tiny(tiny.data_dir, version="3.0.10", seed=1)
    (tiny.data_dir / "mnist" / "4.0.0").mkdir()  # without a description
    (tiny.data_dir / "mnist" / "incomplete.ABC_3.0.11").mkdir()
    assert places.find("mnist", tiny.data_dir) == newest.folder
    assert same(prepared.load("mnist", tiny.data_dir), newest)


def test_the_folder_is_the_argument_then_the_environment_then_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert places.folder() == tmp_path / "home" / "tensorflow_datasets"
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "environment"))
    assert places.folder() == tmp_path / "environment"
    assert places.folder(tmp_path / "argument") == tmp_path / "argument"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", ["mnist", "cifar10"])
def test_what_is_not_prepared_is_said_at_once(tmp_path, kind):
    start = time.monotonic()
    with pytest.raises(UserError) as refused:
        load(config.Images(kind=kind), tmp_path)
    assert time.monotonic() - start < 1
    message = str(refused.value)
    assert f"`otgan data prepare {kind}`" in message
    assert str(tmp_path) in message
    assert ("`--data sample`" in message) == (kind == "mnist")


def test_stacked_digits_point_at_the_sample_too(tmp_path):
    with pytest.raises(UserError, match="--data sample"):
        load(config.Stacked(), tmp_path)


# --- damage ---------------------------------------------------------------------------------------


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    file.write_bytes(content)


DAMAGE = {
    "train cut": lambda folder: truncate(next(folder.glob("*train*"))),
    "train overwritten": lambda folder: flip(next(folder.glob("*train*"))),
    "test empty": lambda folder: next(folder.glob("*test*")).write_bytes(b""),
    "test missing": lambda folder: next(folder.glob("*test*")).unlink(),
    "features cut": lambda folder: truncate(folder / "features.json"),
    "info cut": lambda folder: truncate(folder / "dataset_info.json"),
    "info a list": lambda folder: (folder / "dataset_info.json").write_text("[]"),
}


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_a_sentence_that_names_the_folder(tmp_path, damage, file_format):
    tiny = write_tiny(tmp_path / "other", file_format)
    damage(tiny.folder)
    with pytest.raises(UserError, match="damaged") as refused:
        prepared.load("mnist", tiny.data_dir)
    assert str(tiny.folder) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert catalog.verify("mnist", tiny.data_dir).problems == [str(refused.value)]


def test_a_wrong_count_is_damage(tmp_path):
    tiny = write_tiny(tmp_path / "other", "tfrecord")
    info = json.loads((tiny.folder / "dataset_info.json").read_text())
    info["splits"][1]["shardLengths"] = ["31"]
    (tiny.folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="test has 30 of 31 records"):
        prepared.load("mnist", tiny.data_dir)


def test_a_format_that_needs_tensorflow_is_said(tiny):
    info = (tiny.folder / "dataset_info.json").read_text().replace("array_record", "riegeli")
    (tiny.folder / "dataset_info.json").write_text(info)
    with pytest.raises(UserError, match="is in riegeli format, which needs TensorFlow"):
        prepared.load("mnist", tiny.data_dir)


# --- the cache ------------------------------------------------------------------------------------


def cached(tmp_path):
    return list((tmp_path / "cache").glob("*"))


def test_the_second_reading_does_not_touch_the_records(tiny, tmp_path, monkeypatch):
    prepared.load("mnist", tiny.data_dir)
    assert [file.suffix for file in cached(tmp_path)] == [".npz"]
    monkeypatch.setattr(prepared, "decode", lambda _: pytest.fail("decoded again"))
    assert same(prepared.load("mnist", tiny.data_dir), tiny)


def test_changed_records_are_read_again(tiny):
    prepared.load("mnist", tiny.data_dir)
    other = write_tiny(tiny.data_dir.parent / "other", seed=1)
    for file in other.folder.iterdir():
        file.replace(tiny.folder / file.name)
    assert same(prepared.load("mnist", tiny.data_dir), other)


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_damaged_cache_is_replaced(tiny, tmp_path, content):
    prepared.load("mnist", tiny.data_dir)
    file = cached(tmp_path)[0]
    whole = file.read_bytes()
    file.write_bytes(whole[:-100] if content is None else content)
    assert same(prepared.load("mnist", tiny.data_dir), tiny)
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_done_without(tiny, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert same(prepared.load("mnist", tiny.data_dir), tiny)


# --- the real ones --------------------------------------------------------------------------------


@pytest.mark.tfds
def test_mnist_reads_as_tfds_itself_decodes_it(mnist, tfds_dir):
    import tensorflow_datasets as tfds

    for split, images, labels in (
        ("train", mnist.train, mnist.train_labels),
        ("test", mnist.test, mnist.test_labels),
    ):
        builder: Any = tfds.builder_from_directory(str(places.find("mnist", tfds_dir)))
        source = builder.as_data_source(split=split)
        for i in range(0, len(source), 97):
            assert np.array_equal(source[i]["image"], images[i])
            assert source[i]["label"] == labels[i]


@pytest.mark.tfds
@pytest.mark.slow
def test_cifar_is_whole(tfds_dir):
    found = catalog.verify("cifar10", tfds_dir)
    assert found.problems == []
    assert found.facts[:2] == [
        "train: 50,000 pictures of 32 x 32 x 3",
        "test: 10,000 pictures of 32 x 32 x 3",
    ]

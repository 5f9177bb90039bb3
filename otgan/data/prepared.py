"""MNIST and CIFAR-10 as TFDS prepared them: read without TensorFlow or a network, and kept
decoded in a cache.

TFDS finds the files, checks their description and takes the records apart. The pictures are decoded
here, by Pillow alone: TFDS would use OpenCV where it happens to be installed, whose JPEG decoder
gives other bytes, and is slower besides.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from otgan import cache, places
from otgan.config import Size
from otgan.data import arrays
from otgan.data.ondisk import Examples, OnDisk
from otgan.data.room import room
from otgan.errors import UserError
from otgan.plain import from_json


@dataclass(frozen=True, eq=False)
class Prepared:
    """Both splits of a labeled picture data set.

    Attributes:
        train: (N, h, w, c) uint8, in memory or on the disk.
        train_labels: (N,) uint8.
        test: (M, h, w, c) uint8, as `train`.
        test_labels: (M,) uint8.
    """

    train: Examples
    train_labels: np.ndarray
    test: Examples
    test_labels: np.ndarray


def load(name: str, data_dir: Path | None = None, memory: Size | None = None) -> Prepared:
    """Read a prepared data set, from the cache of decoded pictures if it is there.

    Args:
        name: `mnist` or `cifar10`.
        data_dir: see `otgan.places.folder`.
        memory: that the pictures may take: more of them stay in the cache's file.

    Raises:
        UserError: it is not prepared, or its files are damaged.
    """
    path = places.require(name, data_dir)
    kept = cache.folder() / f"{name}-{path.name}-{_key(path)}.npz"
    there = _on_disk(kept)
    if there and there.train.nbytes + there.test.nbytes > room(memory):
        return there
    cached = cache.read(kept)
    if cached and set(cached) == set(Prepared.__dataclass_fields__):
        return Prepared(**cached)
    read = decode(path)
    cache.write(kept, vars(read))
    there = _on_disk(kept) if read.train.nbytes + read.test.nbytes > room(memory) else None
    return there or read


def _on_disk(kept: Path) -> Prepared | None:
    """The cache's file, of which the labels alone are read; None where it is not whole."""
    parts = [arrays.member(kept, part) for part in ("train", "test")]
    labels = cache.read(kept, ("train_labels", "test_labels"))
    if None in parts or labels is None:
        return None
    train, test = (OnDisk.of(part) for part in parts if part)
    return Prepared(train, labels["train_labels"], test, labels["test_labels"])


def decode(path: Path) -> Prepared:
    """Read a version folder afresh, past the cache.

    Args:
        path: a folder such as `.../mnist/3.0.1`.

    Raises:
        UserError: the files are damaged, or in a format that needs TensorFlow.
    """
    kind = file_format(path)
    if kind not in ("array_record", "tfrecord"):
        raise UserError(
            f"{path} is in {kind} format, which needs TensorFlow: prepare it in another folder with"
            " `otgan data prepare`"
        )
    try:
        return _decode(path)
    except (ImportError, MemoryError):
        raise  # the machine's trouble, not the files'
    # damage shows as an error of JSON, TFDS, riegeli, protobuf or Pillow
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path} seems damaged ({reason[:200]}): remove it and run `otgan data prepare"
            f" {path.parent.name}`"
        ) from error


def file_format(path: Path) -> str:
    """The record format that a version folder's description states.

    Raises:
        UserError: the description is damaged.
    """
    try:
        return from_json((path / "dataset_info.json").read_text()).get("fileFormat", "tfrecord")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path / 'dataset_info.json'} is damaged ({error}): remove {path} and prepare it again"
        ) from error


def _decode(path: Path) -> Prepared:
    import tensorflow_datasets as tfds  # slow to import, and only reading needs it

    builder = tfds.builder_from_directory(str(path))
    return Prepared(*_split(builder, path, "train"), *_split(builder, path, "test"))


def _split(builder: Any, path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """(n, h, w, c) pictures and (n,) labels of one split."""
    shape = builder.info.features["image"].shape
    count = builder.info.splits[split].num_examples
    images, labels = np.empty((count, *shape), np.uint8), np.empty(count, np.uint8)
    seen = 0
    for seen, example in enumerate(_examples(builder, path, split), start=1):
        images[seen - 1] = np.asarray(Image.open(io.BytesIO(example["image"]))).reshape(shape)
        labels[seen - 1] = example["label"]
    if seen != count:
        raise ValueError(f"{split} has {seen} of {count} records")
    return images, labels


def _examples(builder: Any, path: Path, split: str) -> Iterator[dict[str, Any]]:
    """Examples with their pictures still encoded."""
    from tensorflow_datasets import decode as tfds_decode

    encoded = {"image": tfds_decode.SkipDecoding()}
    if file_format(path) == "array_record":
        source = builder.as_data_source(split=split, decoders=encoded)
        for start in range(0, len(source), 1000):
            yield from source.__getitems__(range(start, min(start + 1000, len(source))))
    else:
        for shard in builder.info.splits[split].filepaths:
            for record in _tfrecords(Path(shard)):
                example = builder.info.features.deserialize_example_np(record, decoders=encoded)
                _check(example["image"])  # array_record has checksums of its own
                yield example


def _check(encoded: bytes | None) -> None:
    """Compare a PNG with its own checksums, which decoding ignores.

    A damaged record may lack its picture.
    """
    try:
        Image.open(io.BytesIO(encoded or b"")).verify()
    except (OSError, SyntaxError) as error:
        raise ValueError("a record holds a damaged picture") from error


def _tfrecords(shard: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: each is its length (8 bytes, little endian), a checksum (4),
    the payload, a checksum (4).
    """
    with shard.open("rb") as file:
        while head := file.read(12):
            length = int.from_bytes(head[:8], "little")
            if length > shard.stat().st_size or len(body := file.read(length + 4)) < length + 4:
                raise ValueError(f"{shard.name} ends within a record")
            yield body[:length]


def _key(path: Path) -> str:
    """Changes whenever a file of the folder does."""
    files = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(path.iterdir())
    ]
    return hashlib.sha256(repr((str(path.resolve()), files)).encode()).hexdigest()[:16]

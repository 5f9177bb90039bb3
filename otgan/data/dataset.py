"""A data set, and the one function that makes it from a config's data section."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from otgan import cache, config, plugins
from otgan.data import digits, own, points, prepared
from otgan.data.examples import MOST_BYTES
from otgan.data.ondisk import Examples, OnDisk, blocks, gib, repeated
from otgan.data.room import room, told
from otgan.errors import UserError

HELD_OUT_PER_MODE = 80
"""Held-out points of every mode of the grid."""

GRID_SEED = 20180
"""Part of what the grid is: it never changes, so every run sees the same points."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples to learn from and examples held out.

    Attributes:
        name: what the config calls it.
        train: (N, d) float32 points or (N, h, w, c) uint8 pictures, in memory or on the disk.
        test: the held-out examples, of the same kind.
        centers: (k, d) float32 true modes; where they are known.
        sd: standard deviation of every mode in each coordinate; where it is known.
        labels: (N,) whole numbers from 0, of `train`; where the data have labels.
        columns: of points: the names of the coordinates; where they have names.
        notes: sentences on what was done and left out in reading.
    """

    name: str
    train: Examples
    test: Examples
    centers: np.ndarray | None = None
    sd: float | None = None
    labels: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (d,) or (h, w, c)."""
        return self.train.shape[1:]

    @property
    def is_images(self) -> bool:
        """Whether the examples are pictures (bytes) rather than points."""
        return self.train.dtype == np.uint8

    def with_channels_of(self, shape: tuple[int, ...]) -> Dataset:
        """The same, gray pictures with as many equal channels as a shape asks for; see the function
        of that name.
        """
        return replace(
            self, train=with_channels_of(self.train, shape), test=with_channels_of(self.test, shape)
        )

    @property
    def on_disk(self) -> bool:
        """Whether the examples stay in a file."""
        return isinstance(self.train, OnDisk)

    def in_memory(self, who: str, section: str = "data") -> tuple[np.ndarray, np.ndarray]:
        """Both parts as arrays, for `who` needs all examples at once, which a section of the config
        describes.

        Raises:
            UserError: they are on the disk.
        """
        if isinstance(self.train, OnDisk) or isinstance(self.test, OnDisk):
            raise UserError(
                f"{who} needs all {len(self.train):,} training examples in memory, and these"
                f" {gib(self.train.nbytes)} are on the disk: take fewer, or allow more by"
                f" {section}.max_memory"
            )
        return self.train, self.test

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of the values, shapes and types of both parts: equal exactly if the data
        are.
        """
        if isinstance(self.train, OnDisk) and isinstance(self.test, OnDisk):
            return _remembered(self.train, self.test)
        return _fingerprint(self.train, self.test)

    @cached_property
    def labels_digest(self) -> str:
        """A short hash of the labels; empty where there are none."""
        return "" if self.labels is None else hashlib.sha256(self.labels.tobytes()).hexdigest()[:12]


def _fingerprint(*parts: Examples) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part.shape}{part.dtype.str}".encode())
        for block in blocks(part):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()[:12]


def _remembered(*parts: OnDisk) -> str:
    """The same of files, which takes minutes: kept in the cache until somebody writes to them."""
    name = hashlib.sha256("".join(part.identity for part in parts).encode()).hexdigest()[:16]
    path = cache.folder() / "fingerprints" / f"{name}.npz"
    if (kept := cache.read(path)) and "fingerprint" in kept:
        return str(kept["fingerprint"])
    found = _fingerprint(*parts)
    cache.write(path, {"fingerprint": np.asarray(found)})
    return found


def load(data: config.Data | config.Section, data_dir: Path | None = None) -> Dataset:
    """Read or make the data set that a config describes.

    Args:
        data: the config's data section, otgan's own or another package's.
        data_dir: the TFDS folder; by default `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.

    Raises:
        UserError: the data are missing, damaged or unfit; the sentence says what to do.
    """
    match data:
        case config.Grid():
            return _grid(data)
        case config.Images():
            train, test = _pictures(data, data_dir)
            size = train.nbytes + test.nbytes
            stay = isinstance(train, OnDisk)
            notes = (told(data.kind, size, room(data.max_memory)),) if stay else ()
            return Dataset(data.kind, train, test, notes=notes)
        case config.Stacked():
            whole = config.Size(MOST_BYTES)  # of a set that is small
            mnist = load(
                config.Images(kind="mnist", source=data.source, max_memory=whole), data_dir
            )
            return Dataset(data.kind, *digits.stack(*mnist.in_memory(data.kind), data.size))
        case config.UserData():
            return Dataset(data.kind, **own.load(data)._asdict())
        case config.Gaussian():
            return Dataset(data.kind, *points.sample(data))
        case config.Mixture():
            return Dataset(data.kind, *points.sample(data), sd=None if data.warped else data.sd)
        case _:  # of another package
            foreign: Any = data
            return plugins.load(plugins.Kind.DATA, foreign.kind).load(foreign, data_dir)


def load_source(run: config.Config, shape: tuple[int, ...] = ()) -> Dataset | None:
    """The data set whose examples a run draws in place of latents, if it does.

    Args:
        run: the run's config.
        shape: of the run's data, whose channels a source of gray pictures takes on.

    Raises:
        UserError: as `load`.
    """
    return (
        None
        if run.source is None or isinstance(run.source, config.PretrainedRun)
        else load(run.source).with_channels_of(shape)
    )


@overload
def with_channels_of(examples: np.ndarray, shape: tuple[int, ...]) -> np.ndarray: ...
@overload
def with_channels_of(examples: Examples, shape: tuple[int, ...]) -> Examples: ...
def with_channels_of(examples: Examples, shape: tuple[int, ...]) -> Examples:
    """Gray pictures, (n, h, w, 1), as color pictures of three equal channels where a shape (h, w,
    3) asks for them; all else as it is.
    """
    if examples.ndim == 4 and shape == (*examples.shape[1:3], 3) and examples.shape[3] == 1:
        return repeated(examples, 3)
    return examples


def _pictures(data: config.Images, data_dir: Path | None) -> tuple[Examples, Examples]:
    if data.source == "sample":
        return digits.sample()
    read = prepared.load(data.kind, data_dir, data.max_memory)
    return read.train, read.test


def _grid(data: config.Grid) -> Dataset:
    ticks = (np.arange(data.side) - (data.side - 1) / 2) * data.spacing
    centers = (
        np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1)
        .reshape(-1, 2)
        .astype(np.float32)
    )
    modes = np.random.default_rng([GRID_SEED, 0]).integers(len(centers), size=data.size)
    held_out = np.repeat(np.arange(len(centers)), HELD_OUT_PER_MODE)
    train, test = (
        _around(centers[which], data.sd, stream) for stream, which in ((1, modes), (2, held_out))
    )
    return Dataset(data.kind, train, test, centers, data.sd)


def _around(centers: np.ndarray, sd: float, stream: int) -> np.ndarray:
    noise = np.random.default_rng([GRID_SEED, stream]).standard_normal(centers.shape)
    return (centers + sd * noise).astype(np.float32)

"""Samples from a run folder, and what its map makes of given points."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from otgan.batches import as_bytes, as_floats
from otgan.data import load_source, with_channels_of
from otgan.errors import UserError
from otgan.oracles.contract import Family, Transported
from otgan.pictures import save_scatter, save_sheet
from otgan.restore import read_form, restore
from otgan.runs import RunFolder
from otgan.step import TrainState
from otgan.system import System

CHUNK = 1_000  # samples generated at once: bounds the memory
SHEET = 1_024  # images on one sheet at most


def sample(folder: RunFolder, size: int, seed: int, step: int | None = None) -> np.ndarray:
    """Draw from the averaged generator of a run, as it was after a step.

    By default at its newest checkpoint.

    Returns:
        (size, d) float32 points or (size, h, w, c) uint8 images. The i-th sample of a seed is the
        same whatever the size.

    Raises:
        UserError: the folder holds no run, or no such checkpoint.
    """
    run = restore(folder, step)
    source = load_source(run.config, run.form.shape)
    chunks = draw(run.system, run.state, seed, jnp.asarray(source.train) if source else None)
    return np.concatenate(list(islice(chunks, -(-size // CHUNK))))[:size]


def draw(
    system: System,
    state: TrainState,
    seed: int,
    source: jax.Array | None = None,
    rounded: bool = True,
) -> Iterator[np.ndarray]:
    """Samples of the averaged generator, without end, in chunks of 1,000.

    Args:
        system: what computes.
        state: its state.
        seed: of the latents.
        source: the examples that take the place of latents.
        rounded: images as bytes; otherwise as float32 levels in [0, 255].

    Raises:
        UserError: samples are not finite.
    """
    for i in count(0, CHUNK):
        samples = system.sample(
            state.dual, state.average, jax.random.fold_in(jax.random.key(seed), i), CHUNK, source
        )
        if not bool(jnp.isfinite(samples).all()):
            raise UserError(
                "the generator's samples are not finite: the run diverged, and there is nothing to"
                " judge or to draw"
            )
        if not system.form.images:
            yield np.asarray(samples)
        else:
            yield (
                as_bytes(samples)
                if rounded
                else np.asarray(samples.clip(-1, 1) + 1) * np.float32(127.5)
            )


def transport(
    folder: RunFolder, examples: np.ndarray, name: object = "the array"
) -> tuple[np.ndarray, np.ndarray]:
    """Send points, (n, d), or images, (n, h, w, c), through the map that a run has learned.

    Args:
        folder: the run's.
        examples: float32, or bytes of images.
        name: what messages call them.

    Returns:
        What came of them, and how far each may be from its exact image: certified, Euclidean, in
        units of the data (of images, of pixels in [-1, 1], before they are rounded); infinite where
        nothing is certified.

    Raises:
        UserError: the run has no map, or the examples are not such as it maps.
    """
    _, form, system, state, _ = restore(folder)
    family = system.family
    if family.transport is None:
        raise UserError(
            f"{folder.path} learned no map; the runs of family 'convex' do (convex-map, or `otgan"
            " compose`)"
        )
    examples = with_channels_of(examples, form.shape)
    if examples.shape[1:] != form.shape or (examples.dtype == np.uint8) != form.images:
        kind = "images" if form.images else "points"
        raise UserError(
            f"{name} holds examples of shape {examples.shape[1:]}; the run maps {kind} of shape"
            f" {form.shape}"
        )
    parts = [*push(family, state.dual, examples)]
    points = [as_bytes(part.points) if form.images else np.asarray(part.points) for part in parts]
    return np.concatenate(points), np.concatenate([np.asarray(part.error) for part in parts])


def push(family: Family, dual: Any, examples: np.ndarray) -> Iterator[Transported]:
    """What the map of a family makes of examples, (n, ...), 1,000 at a time."""
    assert family.transport is not None
    through = jax.jit(family.transport)
    for i in range(0, len(examples), CHUNK):
        yield through(dual, as_floats(jnp.asarray(examples[i : i + CHUNK])))


def check(path: Path, size: int, folder: RunFolder) -> None:
    """See, before anything is drawn, that samples can be written to a path.

    Raises:
        UserError: another ending than .npz, .png or .csv, too many images for a sheet, or images
            for a table.
    """
    if path.suffix not in (".npz", ".png", ".csv"):
        raise UserError(f"{path}: samples are written to .png or .npz, points to .csv too")
    if path.suffix == ".png" and size > SHEET and read_form(folder).images:
        raise UserError(
            f"a sheet holds {SHEET} images at most, not {size:,}; write them to an .npz"
        )
    if path.suffix == ".csv" and read_form(folder).images:
        raise UserError(f"{path} would be a table, and the samples are images: write .png or .npz")


def write(samples: np.ndarray, path: Path, columns: Sequence[str] = ()) -> None:
    """Save samples: `.npz` with the one array `samples`, `.png` as a sheet of images or a scatter
    of points, or `.csv` as a table of points, whose columns are numbered where they have no names.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npz":
            np.savez_compressed(path, samples=samples)
        elif path.suffix == ".csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(columns or range(samples.shape[1]))
                table.writerows(samples.tolist())
        elif samples.dtype == np.uint8:
            save_sheet(samples, path)
        else:
            save_scatter(samples, samples[:0], path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from None

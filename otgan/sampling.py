"""Samples from a run folder alone: its config, its data's form, its newest checkpoint."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from otgan import experiments
from otgan.checkpoints import Checkpoints
from otgan.clouds import as_bytes
from otgan.errors import UserError
from otgan.pictures import save_scatter, save_sheet
from otgan.runs import RunFolder
from otgan.system import Form, build

CHUNK = 1_000  # samples generated at once: bounds the memory
SHEET = 1_024  # images on one sheet at most


def sample(folder: RunFolder, size: int, seed: int) -> np.ndarray:
    """Draw from the averaged generator of a run.

    Returns:
        (size, d) float32 points or (size, h, w, c) uint8 images. The i-th sample of a seed is the same whatever the size.

    Raises:
        UserError: the folder holds no run, or no checkpoint.
    """
    form, config = _form(folder), experiments.resolve(str(folder.config_path))
    system = build(config, form)
    if not folder.checkpoints.is_dir():
        raise UserError(f"no checkpoint in {folder.path}: the run has not got that far")
    with Checkpoints(folder.checkpoints) as checkpoints:
        state, _ = checkpoints.restore(jax.jit(system.stepper.init)())
    out = []
    for i in range(0, size, CHUNK):
        samples = system.sample(state.dual, state.average, jax.random.fold_in(jax.random.key(seed), i), CHUNK)
        out.append(as_bytes(samples) if form.images else np.asarray(samples))
    return np.concatenate(out)[:size]


def check(path: Path, size: int, folder: RunFolder) -> None:
    """See, before anything is drawn, that samples can be written to a path.

    Raises:
        UserError: another ending than .npz or .png, or too many images for a sheet.
    """
    if path.suffix not in (".npz", ".png"):
        raise UserError(f"{path}: samples are written to .png or .npz")
    if path.suffix == ".png" and size > SHEET and _form(folder).images:
        raise UserError(f"a sheet holds {SHEET} images at most, not {size:,}; write them to an .npz")


def write(samples: np.ndarray, path: Path) -> None:
    """Save samples: `.npz` with the one array `samples`, or `.png` as a sheet of images or a scatter of points.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npz":
            np.savez_compressed(path, samples=samples)
        elif samples.dtype == np.uint8:
            save_sheet(samples, path)
        else:
            save_scatter(samples, samples[:0], path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from None


def _form(folder: RunFolder) -> Form:
    folder.read_config()
    return Form.from_record(folder.read_environment()["data"]["form"])

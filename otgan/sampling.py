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


def sample(folder: RunFolder, size: int, seed: int, step: int | None = None) -> np.ndarray:
    """Draw from the averaged generator of a run.

    Returns:
        (size, d) float32 points or (size, h, w, c) uint8 images. The i-th sample of a seed is the same whatever the size.

    Raises:
        UserError: the folder holds no run, or no checkpoint.
    """
    folder.read_config()
    config = experiments.resolve(str(folder.config_path))
    form = Form.from_record(folder.read_environment()["data"]["form"])
    system = build(config, form)
    if not folder.checkpoints.is_dir():
        raise UserError(f"no checkpoint in {folder.path}: the run has not got that far")
    with Checkpoints(folder.checkpoints) as checkpoints:
        state, _ = checkpoints.restore(jax.jit(system.stepper.init)(), step)
    out = []
    for i in range(0, size, CHUNK):
        samples = system.sample(state.dual, state.average, jax.random.fold_in(jax.random.key(seed), i), CHUNK)
        out.append(as_bytes(samples) if form.images else np.asarray(samples))
    return np.concatenate(out)[:size]


def write(samples: np.ndarray, path: Path) -> None:
    """Save samples: `.npz` with the one array `samples`, or `.png` as a sheet of images or a scatter of points.

    Raises:
        UserError: another ending, too many images for a sheet, or the file cannot be written.
    """
    images = samples.dtype == np.uint8
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npz":
            np.savez_compressed(path, samples=samples)
        elif path.suffix == ".png" and images:
            if len(samples) > SHEET:
                raise UserError(f"a sheet holds {SHEET} images at most, and these are {len(samples):,}; write them to an .npz")
            save_sheet(samples, path)
        elif path.suffix == ".png":
            save_scatter(samples, samples[:0], path)
        else:
            raise UserError(f"{path}: samples are written to .png or .npz")
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from None

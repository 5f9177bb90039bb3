"""A run's state from its folder alone: its config, its data's form, its newest checkpoint."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import jax

from otgan import experiments
from otgan.checkpoints import Checkpoints
from otgan.config import Config
from otgan.data import Form
from otgan.errors import DamagedWarning, UserError
from otgan.files import table
from otgan.runs import RunFolder
from otgan.step import TrainState
from otgan.system import System, build


class Restored(NamedTuple):
    """A run as a checkpoint has it."""

    config: Config
    form: Form
    system: System
    state: TrainState
    step: int


def restore(folder: RunFolder, step: int | None = None) -> Restored:
    """Read a run, as it was after a step whose checkpoint is kept.

    By default it is the newest that can be read, with a `DamagedWarning` where that is not the
    newest.

    Raises:
        UserError: the folder holds no run, or no such checkpoint.
    """
    form = read_form(folder)
    config = experiments.resolve(str(folder.config_path))
    system = build(config, form)
    kept = kept_steps(folder)
    if step is not None and step not in kept:
        raise UserError(
            f"{folder.path} keeps no checkpoint of step {step}; it has those of"
            f" {', '.join(map(str, kept))}"
        )
    with Checkpoints(folder.checkpoints) as checkpoints:
        read = checkpoints.restore(jax.jit(system.stepper.init)(), step)
    for newer, why in read.damaged.items():
        warnings.warn(
            f"the checkpoint of step {newer} in {folder.path} is damaged ({why}); that of step"
            f" {read.step} is taken in its place",
            DamagedWarning,
            stacklevel=2,
        )
    return Restored(config, form, system, read.state, read.step)


def kept_steps(folder: RunFolder) -> list[int]:
    """The steps whose checkpoints a run keeps, oldest first; at least one.

    Raises:
        UserError: there is none.
    """
    if folder.checkpoints.is_dir():
        with Checkpoints(folder.checkpoints) as checkpoints:
            if steps := checkpoints.steps:
                return steps
    raise UserError(f"no checkpoint in {folder.path}: the run has not got that far")


def has_checkpoint(folder: RunFolder) -> bool:
    """Whether a run has anything to go on from; one that was ended before that starts anew."""
    try:
        return bool(kept_steps(folder))
    except UserError:
        return False


def read_columns(folder: RunFolder) -> tuple[str, ...]:
    """The names of the coordinates that a run was begun with; none where they have none.

    Raises:
        UserError: the folder holds no run that was started.
    """
    found = table(folder.read_environment().get("data")).get("columns")
    return tuple(map(str, found)) if isinstance(found, list) else ()


def read_form(folder: RunFolder) -> Form:
    """The form of the data that a run was begun with.

    Raises:
        UserError: the folder holds no run that was started.
    """
    folder.read_config()
    return Form.from_record(folder.read_environment()["data"]["form"])

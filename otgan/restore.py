"""A run's state from its folder alone: its config, its data's form, its newest checkpoint."""

from __future__ import annotations

from typing import NamedTuple

import jax

from otgan import experiments
from otgan.checkpoints import Checkpoints
from otgan.config import Config
from otgan.data import Form
from otgan.errors import UserError
from otgan.runs import RunFolder
from otgan.step import TrainState
from otgan.system import System, build


class Restored(NamedTuple):
    """A run as its newest checkpoint has it."""

    config: Config
    form: Form
    system: System
    state: TrainState


def restore(folder: RunFolder) -> Restored:
    """Read a run.

    Raises:
        UserError: the folder holds no run, or no checkpoint.
    """
    form = read_form(folder)
    config = experiments.resolve(str(folder.config_path))
    system = build(config, form)
    if not folder.checkpoints.is_dir():
        raise UserError(f"no checkpoint in {folder.path}: the run has not got that far")
    with Checkpoints(folder.checkpoints) as checkpoints:
        state, _ = checkpoints.restore(jax.jit(system.stepper.init)())
    return Restored(config, form, system, state)


def read_form(folder: RunFolder) -> Form:
    """The form of the data that a run was begun with.

    Raises:
        UserError: the folder holds no run that was started.
    """
    folder.read_config()
    return Form.from_record(folder.read_environment()["data"]["form"])

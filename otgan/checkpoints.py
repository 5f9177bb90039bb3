"""States of a run on disk, through orbax, which nothing else imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from otgan.errors import UserError

KEPT = 3


class Checkpoints:
    """The newest few states in a folder, each with the loop's own numbers beside it. Saving goes on in the background; close to wait."""

    def __init__(self, folder: Path, kept: int = KEPT):
        options = ocp.CheckpointManagerOptions(max_to_keep=kept, create=True)
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def newest(self) -> int | None:
        """The step of the newest whole checkpoint, if there is one."""
        return self._manager.latest_step()

    @property
    def steps(self) -> list[int]:
        """The steps of all whole checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, numbers: dict[str, Any]) -> None:
        """Keep a state and the loop's numbers under a step; a step that is kept already is left alone."""
        if self.newest != step:
            self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), numbers=ocp.args.JsonSave(numbers)))

    def restore(self, like: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """The state at a step (else the newest), laid out on the devices as `like` is, and the loop's numbers.

        Raises:
            UserError: there is none, or it is not of this shape.
        """
        step = self.newest if step is None else step
        if step is None:
            raise UserError(f"no checkpoint in {self._manager.directory}: the run has not got that far")
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            args = ocp.args.Composite(state=ocp.args.StandardRestore(target), numbers=ocp.args.JsonRestore())
            found = self._manager.restore(step, args=args)
        except (ValueError, KeyError, OSError) as error:
            raise UserError(f"cannot read the checkpoint of step {step} in {self._manager.directory}: {error}".splitlines()[0]) from None
        return found["state"], found["numbers"]

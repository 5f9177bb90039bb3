"""States of a run on disk, through orbax, which nothing else imports."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from otgan.errors import UserError

KEPT = 3
UNCOMMITTED = ".orbax-checkpoint-tmp"  # in the name of a checkpoint that is not whole


def _hush() -> None:
    """Keep from the standard error what a failed save prints there, with tracebacks, beside the one
    error that it raises.
    """
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    earlier = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        # of the writes that go on when one has failed
        if str(unraisable.exc_value) != "Event loop is closed":
            earlier(unraisable)

    sys.unraisablehook = hook


_hush()


class Checkpoints:
    """The newest few states in a folder, each with the loop's own numbers beside it.

    Saving goes on in the background; close to wait.
    """

    def __init__(self, folder: Path, kept: int = KEPT):
        options = ocp.CheckpointManagerOptions(max_to_keep=kept, create=True)
        self._folder = folder.resolve()
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
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
        """Keep a state and the loop's numbers under a step.

        A step that is kept already is left alone.

        Raises:
            OSError: it cannot be written, or the one before, which was still at work, could not.
        """
        if self.newest == step:
            return
        if not self._folder.is_dir():  # orbax would make a new one, without the rest of the run
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._folder))
        with self._faithful():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), numbers=ocp.args.JsonSave(numbers)
                ),
            )

    def wait(self) -> None:
        """Wait until all that was saved is whole.

        Raises:
            OSError: it cannot be written.
        """
        with self._faithful():
            self._manager.wait_until_finished()

    def tidy(self) -> None:
        """Remove what a save that failed or was killed left behind; nobody else may be saving."""
        for path in self._folder.glob(f"*{UNCOMMITTED}*"):
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _faithful(self) -> Iterator[None]:
        """Hands on what the system said of a save that failed, which the storage library wraps into
        a `ValueError`.
        """
        try:
            yield
        except Exception as error:
            self.tidy()
            if isinstance(error, OSError) or not (
                code := re.search(r"os_error_code='(\d+)'", str(error))
            ):
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from error

    def restore(self, like: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """The state at a step (else the newest), laid out on the devices as `like` is, and the
        loop's numbers.

        Raises:
            UserError: there is none, or it is not of this shape.
        """
        step = self.newest if step is None else step
        if step is None:
            raise UserError(
                f"no checkpoint in {self._manager.directory}: the run has not got that far"
            )
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            args = ocp.args.Composite(
                state=ocp.args.StandardRestore(target), numbers=ocp.args.JsonRestore()
            )
            found = self._manager.restore(step, args=args)
        except (ValueError, KeyError, OSError) as error:
            where = f"the checkpoint of step {step} in {self._manager.directory}"
            raise UserError(f"cannot read {where}: {error}".splitlines()[0]) from None
        return found["state"], found["numbers"]

"""States of a run on disk, through orbax, which nothing else imports.

Beside each state stands its SHA-256, so that a changed bit is seen. A damaged checkpoint gives way
to the one before it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from otgan.errors import UserError
from otgan.files import refusal

KEPT = 3
FILES = 32  # of a checkpoint that is being saved, at least
UNCOMMITTED = ".orbax-checkpoint-tmp"  # in the name of a checkpoint that is not whole
DIGEST = "sha256"  # beside the loop's numbers
SET_ASIDE = "damaged-checkpoints"  # beside the folder of checkpoints
STORAGE_ERROR = re.compile(r"os_error_code='(\d+)'")


class Kept(NamedTuple):
    """A checkpoint as it was read."""

    state: Any
    numbers: dict[str, Any]  # the loop's own
    step: int
    damaged: dict[int, str]  # newer ones that cannot be read, by step, and why


class _DamagedError(Exception):
    """Why a checkpoint cannot be read."""


def _hush() -> None:
    """Keep from the standard error what a failed save prints there, with tracebacks, beside the one
    error that it raises.
    """
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    # of several writes that failed at once one is raised, and asyncio logs the others
    logging.getLogger("asyncio").addFilter(
        lambda record: not (record.exc_info and STORAGE_ERROR.search(str(record.exc_info[1])))
    )
    earlier = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        # of the writes that go on when one has failed
        if str(unraisable.exc_value) != "Event loop is closed":
            earlier(unraisable)

    sys.unraisablehook = hook


class Checkpoints:
    """The newest few states in a folder, each with the loop's own numbers beside it.

    Saving goes on in the background; close to wait.
    """

    def __init__(self, folder: Path, kept: int = KEPT):
        # of the processes of a run one alone reads and writes: the others are not waited for
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}
        )
        options = ocp.CheckpointManagerOptions(
            max_to_keep=kept, create=False, multiprocessing_options=alone
        )
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        handlers = {
            "state": ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            "numbers": ocp.JsonCheckpointHandler(multiprocessing_options=alone),
        }
        self._manager = ocp.CheckpointManager(self._folder, options=options, item_handlers=handlers)

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
        # copies: what is on devices the next steps may reuse
        own = jax.tree.map(np.array, state)
        with self._faithful():
            self._require_room()
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(own),
                    numbers=ocp.args.JsonSave({**numbers, DIGEST: _digest(own, numbers)}),
                ),
            )

    def _require_room(self) -> None:
        """See that as many files can be made as a save has for a while.

        Where a folder cannot be made, the storage library fails, but its threads wait ten minutes
        for that folder, and the process with them.

        Raises:
            OSError: they cannot; what could be made is left.
        """
        newest = self.newest
        there = [] if newest is None else [*(self._folder / str(newest)).rglob("*")]
        tried = self._folder / f"{secrets.token_hex(4)}{UNCOMMITTED}"
        tried.mkdir()
        for number in range(max(FILES, 2 * len(there))):
            (tried / str(number)).touch()
        shutil.rmtree(tried, ignore_errors=True)

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
            told = self._told(error)  # before there is room again
            self.tidy()
            if told is error:
                raise
            raise told from error

    def _told(self, error: Exception) -> Exception:
        """What the system said, where it is that."""
        if not isinstance(error, OSError):
            if not (code := STORAGE_ERROR.search(str(error))):
                return error
            error = OSError(int(code[1]), os.strerror(int(code[1])))
        if error.errno == errno.ENOSPC:
            return OSError(error.errno, refusal(error, self._folder), error.filename)
        return error

    def restore(self, like: Any, step: int | None = None) -> Kept:
        """The state at a step, laid out on the devices as `like` is, and the loop's numbers.

        Without a step it is the newest that can be read.

        Raises:
            UserError: there is none, it is not of this shape, or it is damaged.
        """
        steps = self.steps if step is None else [step]
        if not steps:
            raise UserError(f"no checkpoint in {self._folder}: the run has not got that far")
        damaged: dict[int, str] = {}
        for candidate in reversed(steps):
            try:
                return Kept(*self._read(like, candidate), candidate, damaged)
            except _DamagedError as error:
                damaged[candidate] = str(error)
        older = ", and no older one can be" if step is None and len(steps) > 1 else ""
        raise UserError(
            f"cannot read the checkpoint of step {steps[-1]} in {self._folder}{older}:"
            f" {damaged[steps[-1]]}"
        )

    def set_aside(self, step: int) -> Path:
        """Move a damaged checkpoint out of the way of the run that goes on.

        Returns where it is.
        """
        place = self._folder.parent / SET_ASIDE
        place.mkdir(exist_ok=True)
        there = place / str(step)
        shutil.rmtree(there, ignore_errors=True)
        (self._folder / str(step)).rename(there)
        self._manager.reload()
        return there

    def _read(self, like: Any, step: int) -> tuple[Any, dict[str, Any]]:
        """A checkpoint's state and numbers.

        Raises:
            UserError: it is whole, but of other shapes.
            _DamagedError: it cannot be read, or is not what was saved.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            self._require_shapes(target, step)
            args = ocp.args.Composite(
                state=ocp.args.StandardRestore(target), numbers=ocp.args.JsonRestore()
            )
            found = self._manager.restore(step, args=args)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # whatever a damaged file makes the libraries say
            said = str(error).splitlines() or [type(error).__name__]
            raise _DamagedError(said[0]) from error
        state, numbers = found["state"], found["numbers"]
        digest = numbers.pop(DIGEST, None)  # 0.1.0 had none
        if digest is not None and digest != _digest(state, numbers):
            raise _DamagedError("its contents are not what was saved")
        return state, numbers

    def _require_shapes(self, target: Any, step: int) -> None:
        """See that a checkpoint's arrays are those that are asked for.

        Raises:
            UserError: they are not.
        """
        kept = _shapes(self._manager.item_metadata(step)["state"].tree)
        asked = _shapes(target)
        for name in sorted(kept | asked):
            there, wanted = kept.get(name, "none"), asked.get(name, "none")
            if there != wanted:
                raise UserError(
                    f"the checkpoint of step {step} in {self._folder} does not fit the run's"
                    f" config.json: {name} is {there} there, and {wanted} by the config; was it"
                    " edited?"
                )


def _shapes(tree: Any) -> dict[str, str]:
    """The shape and type of every array, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    return {
        ".".join(map(_word, path)): f"{np.dtype(leaf.dtype)} {tuple(leaf.shape)}"
        for path, leaf in leaves
    }


def _word(key: Any) -> str:
    """A step of a path, alike for the state and for what is read of it from disk."""
    return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))


def _digest(state: Any, numbers: dict[str, Any]) -> str:
    """Of all that is kept."""
    digest = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
    for leaf in jax.tree.leaves(state):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


_hush()

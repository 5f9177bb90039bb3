"""The folder of a sweep: what is written into it. Its anatomy is in `otgan.results.sweep`. No JAX.

How far a cell is, is read from its folder alone. Who trains a cell holds its lock, so an abandoned
one is told from one at work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from otgan.budgets import USED_BY, longer, shorter
from otgan.config import Config, Effect, marked
from otgan.errors import UserError
from otgan.experiments import resolve
from otgan.files import LOCK, is_unfinished, lock, read_table, refusal, write_atomically
from otgan.plain import flat, from_json, nested
from otgan.results.extension import extend, raised
from otgan.results.state import RunState, state_of
from otgan.results.sweep import FORMAT, Sweep, described, read_sweep
from otgan.runs import CELL, CELLS, OF_A_SWEEP, SWEEP, RunFolder, require_no_link

SEED = "train.seed"


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        config: resolved.
        values: its values on the axes, by dotted key.
        seed: of everything random in it.
    """

    config: Config
    values: dict[str, Any]
    seed: int

    @cached_property
    def id(self) -> str:
        """Equal exactly if the cells compute the same."""
        return hashlib.sha256(
            json.dumps(self.config.identity(), sort_keys=True).encode()
        ).hexdigest()[:12]

    @property
    def label(self) -> str:
        """For a reader: `lam=0.1 epsilon=0.3x seed=0`."""
        return f"{described(self.values)} seed={self.seed}".strip()


@dataclass(frozen=True)
class SweepRecord:
    """What a sweep is, as `sweep.json` keeps it.

    Attributes:
        experiment: its name.
        base: the config that its cells share, without their values on the axes.
        axes: all values so far, by dotted key.
        seeds: all so far.
        eval: the measures that every cell is judged by.
    """

    experiment: str
    base: dict[str, Any]
    axes: dict[str, list[Any]]
    seeds: list[int]
    eval: list[str]


class SweepFolder:
    """A sweep's folder, there already or to be made."""

    def __init__(self, path: Path):
        self.path = path

    def folder(self, cell_id: str) -> RunFolder:
        """A cell's run folder, which one of another version may have named by its own hash of the
        same cell.
        """
        return RunFolder(self.path / CELLS / self._of_other_versions.get(cell_id, cell_id))

    @cached_property
    def _of_other_versions(self) -> dict[str, str]:
        """Names of folders, by the hash that this version gives to what they hold."""
        found = {}
        for name in self.cells():
            with suppress(UserError):
                found[
                    Cell(resolve(str(RunFolder(self.path / CELLS / name).config_path)), {}, 0).id
                ] = name
        return {cell_id: name for cell_id, name in found.items() if cell_id != name}

    def cells(self) -> list[str]:
        """The cells so far, by their hash."""
        return sorted(path.parent.name for path in (self.path / CELLS).glob(f"*/{CELL}"))

    def require_own(self) -> None:
        """See that no link in here leads a write to another place.

        Raises:
            UserError: one does.
        """
        for name in (SWEEP, CELLS, LOCK):
            require_no_link(self.path / name, OF_A_SWEEP)
        for path in (self.path / CELLS).glob("*"):
            require_no_link(path, OF_A_SWEEP)
            RunFolder(path).require_own()

    def read(self) -> SweepRecord | None:
        """The sweep that is here, if one is.

        Raises:
            UserError: the folder holds something else, or a link, or a record that cannot be read.
        """
        self.require_own()
        path = self.path / SWEEP
        if not path.is_file():
            if self.path.exists() and not (
                self.path.is_dir()
                and all(p.name == LOCK or is_unfinished(p) for p in self.path.iterdir())
            ):
                raise UserError(
                    f"{self.path} holds something else than a sweep; give --out another folder"
                )
            return None
        try:
            record = from_json(path.read_text())
            number = record.pop("format")
            if number != FORMAT:
                raise UserError(
                    f"{path} is of format {number}, and this otgan knows {FORMAT}; give --out"
                    " another folder"
                )
            return SweepRecord(**record)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise UserError(f"cannot read {path}; mend it, or give --out another folder") from None

    def record(self, sweep: SweepRecord, cells: Iterable[Cell]) -> None:
        """Add a sweep to the one that is here, and a folder with its config for each of its cells
        that has none.

        Raises:
            UserError: the folder cannot be written, or holds another sweep.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with lock(self.path / LOCK):
                self._record(sweep, cells)
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path} ({refusal(error, self.path)}); give --out a folder"
                " that can be written"
            ) from None

    def _record(self, sweep: SweepRecord, cells: Iterable[Cell]) -> None:
        there = self.read()
        sweep = extended(there, sweep, self.path) if there else sweep
        if there and longer(flat(there.base), flat(sweep.base)):
            self._go_further(sweep.base)
        _write(self.path / SWEEP, {"format": FORMAT, **asdict(sweep)})
        for cell in cells:
            folder = self.folder(cell.id)
            folder.path.mkdir(parents=True, exist_ok=True)
            if not folder.exists:
                folder.create(cell.config.json())
            elif not folder.at_work and self.standing(cell, ()) is not RunState.FINISHED:
                extend(folder, cell.config)
            record, path = {"values": cell.values, "seed": cell.seed}, folder.path / CELL
            if not path.is_file() or read_table(path, []) != record:
                _write(path, record)
        for cell_id in self.cells():
            self._place(cell_id, sweep.axes)

    def _go_further(self, base: dict[str, Any]) -> None:
        """Let all cells go as far as the sweep does.

        Raises:
            UserError: one of them is at work, and would not notice.
        """
        budgets = {key: value for key, value in flat(base).items() if key in USED_BY}
        short = {}
        for folder in map(self.folder, self.cells()):
            with suppress(UserError):  # what cannot be read is not trained either
                config = resolve(str(folder.config_path), budgets)
                if raised(folder, config):
                    short[folder] = config
        if busy := next((folder for folder in short if folder.at_work), None):
            raise UserError(
                f"{busy.path} is at work, and knows of its earlier end: wait for it, or interrupt"
                " it, before the sweep goes further"
            )
        for folder, config in short.items():
            extend(folder, config)

    def _place(self, cell_id: str, axes: Iterable[str]) -> None:
        """Note where a cell lies on axes that the command which asked for it had not."""
        folder = self.folder(cell_id)
        path, config = folder.path / CELL, flat(folder.read_config())
        values = read_table(path, []).get("values", {})
        if missing := [key for key in axes if key not in values]:
            _write(
                path,
                {
                    "values": {**values, **{key: config.get(key) for key in missing}},
                    "seed": config[SEED],
                },
            )

    def state(self, cell_id: str, measures: Iterable[str] | None = None) -> RunState:
        """How far a cell is; `measures` are those to judge it by, where they are not yet those that
        the sweep is recorded with.
        """
        return state_of(self.folder(cell_id), measures)

    def standing(self, cell: Cell, measures: Iterable[str]) -> RunState:
        """How far a cell is that was asked for: one that finished, and is to go further, has been
        interrupted.
        """
        folder, state = self.folder(cell.id), self.state(cell.id, measures)
        if state.trained and raised(folder, cell.config):
            return RunState.INTERRUPTED
        return state

    def results(self, cells: Iterable[Cell]) -> Sweep:
        """What cells came to, as their folders tell it."""
        return read_sweep(self.path, {self.folder(cell.id).path.name for cell in cells})


# --- what sweeps share ----------------------------------------------------------------------------


def extended(old: SweepRecord, new: SweepRecord, path: Path) -> SweepRecord:
    """A sweep with the values, axes, seeds and measures of both.

    A key that is an axis of one alone has one value in the other. The new one may go further.

    Raises:
        UserError: they are of other experiments, or differ in a key that is no axis of either; or
            the old one goes further.
    """
    if old.experiment != new.experiment:
        raise UserError(
            f"{path} holds a sweep of {old.experiment}, not of {new.experiment}; give --out another"
            " folder"
        )
    axes = [*dict.fromkeys([*old.axes, *new.axes])]
    before, now = flat(old.base), flat(new.base)
    shared = {key for key in before.keys() & now.keys() if key not in axes}
    if told_apart := [key for key in USED_BY if key in old.axes]:
        raise UserError(
            f"{path} holds a sweep over {' and '.join(told_apart)}, by which cells are not told"
            " apart any more: `otgan report` reads it; give --out another folder"
        )
    if lowered := shorter(before, now):
        raise UserError(
            f"{path} holds a sweep that goes further: {'; '.join(lowered)}. Give as much as there"
            " or more, or --out another folder"
        )
    free = marked(Config, Effect.EXTENT, Effect.VIEW)
    differing = sorted(k for k in shared - free if before[k] != now[k])
    if differing:
        named = "; ".join(f"{key} ({before[key]} there, {now[key]} now)" for key in differing)
        raise UserError(
            f"{path} holds a sweep with another base: {named}. Give --out another folder"
        )
    base = nested({key: now[key] for key in now if key in shared})
    values = {
        key: _union(old.axes.get(key, [before.get(key)]), new.axes.get(key, [now.get(key)]))
        for key in axes
    }
    return SweepRecord(
        old.experiment, base, values, sorted({*old.seeds, *new.seeds}), _union(old.eval, new.eval)
    )


def _union(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    return [*first, *(value for value in second if value not in first)]


def _write(path: Path, record: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(record, indent=2) + "\n")

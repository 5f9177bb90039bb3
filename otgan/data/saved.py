"""Folders that `Dataset.save_to_disk` of Hugging Face's `datasets` wrote: tables in Arrow's stream
format, and what says in which order they are one. Only files in the folder itself are opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from otgan.data.examples import listed
from otgan.data.tables import Table, as_table, require_room, told
from otgan.errors import UserError
from otgan.plain import from_json, require_path

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
FIRST = "train"
"""The split that is taken where there are several."""

SHOWN = 60  # letters of a name

END = b"\xff\xff\xff\xff" + bytes(4)
"""How a stream ends: one that was cut between two batches would else be read without a word."""


class Stored(NamedTuple):
    """A folder's tables."""

    files: list[Path]
    notes: list[str]


def is_saved(path: Path) -> bool:
    """Whether a path is such a folder."""
    return (path / SPLITS).is_file() or all((path / name).is_file() for name in (STATE, INFO))


def require_whole(path: Path) -> None:
    """Refuse a folder of tables that lacks one of the files that say what they are.

    Raises:
        UserError: it does.
    """
    missing = [name for name in (STATE, INFO) if not (path / name).is_file()]
    if len(missing) == 1 and any(path.glob("*.arrow")):
        raise UserError(
            f"{path} looks like a dataset that Dataset.save_to_disk wrote, but its {missing[0]} is"
            " missing: copy the folder whole, or save the dataset again"
        )


def read(path: Path) -> Table:
    """Read a folder of one table, or the split `train` or the only one of several.

    Raises:
        UserError: files are missing, damaged or lie elsewhere, or rows were selected and not
            copied.
    """
    stored = _stored(path)
    require_room(sum(file.stat().st_size for file in stored.files), path)
    found = [_table(file) for file in stored.files]
    with told(path):
        whole = pa.concat_tables(found)
    return as_table(whole, stored.notes, path)


def _stored(path: Path) -> Stored:
    notes = []
    if (path / SPLITS).is_file():
        path, note = _split(path)
        notes = [note]
    state = _json(path / STATE)
    if any(value for key, value in state.items() if key.startswith("_indices")):
        raise UserError(
            f"{path} holds a selection of the rows of its table: save it with"
            " dataset.flatten_indices().save_to_disk(folder)"
        )
    entries = state.get("_data_files")
    if not isinstance(entries, list):
        raise UserError(f"{path / STATE} lists no _data_files: save the dataset again")
    if not entries:
        raise UserError(f"{path} holds 0 examples: give some")
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in entries]
    return Stored([_inside(path, name, STATE) for name in names], notes)


def _split(path: Path) -> tuple[Path, str]:
    """The folder of the split that is taken, and what is said of it."""
    splits = _json(path / SPLITS).get("splits")
    if not isinstance(splits, list) or not splits or not all(isinstance(s, str) for s in splits):
        raise UserError(f"{path / SPLITS} lists no splits: save the dataset again")
    if FIRST not in splits and len(splits) > 1:
        raise UserError(
            f"{path} holds the splits {listed(splits)}, and none is called {FIRST}: give the folder"
            f" of one, such as {path / splits[0]}"
        )
    taken = FIRST if FIRST in splits else splits[0]
    others = [split for split in splits if split != taken]
    left = f"; left out: {listed(others)}" if others else ""
    return _inside(path, taken, SPLITS), f"taken: the split {taken}{left}"


def _inside(path: Path, name: Any, told_by: str) -> Path:
    """What a file names, if it lies in its folder."""
    try:
        inside = Path(require_path(name)).name == name and name not in ("", "..")
    except (TypeError, ValueError):
        inside = False
    if not inside:
        raise UserError(
            f"{path / told_by} names {str(name)[:SHOWN]!r}, which is no file of its folder: save"
            " the dataset again"
        )
    found = path / name
    if not (found.is_file() or found.is_dir()):
        raise UserError(
            f"{path / told_by} names {name}, which is not there: copy the folder whole, or save the"
            " dataset again"
        )
    _require_no_way_out(found)
    return found


def _require_no_way_out(path: Path) -> None:
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise UserError(f"{path} is a link that leads out of its folder: put a copy there")


def _json(file: Path) -> dict[str, Any]:
    _require_no_way_out(file)
    remedy = "save the dataset again"
    try:
        found = from_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}): {remedy}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no table: {remedy}")
    return found


def _table(path: Path) -> pa.Table:
    """One file, whole."""
    with told(path):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(END)))
            if file.read() != END:
                raise ValueError("it is cut short")
        with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as stream:
            return stream.read_all()

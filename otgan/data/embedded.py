"""Pictures in a column of a table, as Hugging Face's `Image` feature stores them: the bytes of a
file, or the path of one, which is never opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from otgan.config import UserData
from otgan.data import decoding
from otgan.data.decoding import Encoded
from otgan.data.examples import UserExamples
from otgan.data.tables import Table, columns, labels
from otgan.errors import UserError
from otgan.plain import printable

FIELDS = ("bytes", "path")
"""Of the structure that stands for a picture."""

SHOWN = 60  # letters of a path, the last ones


def column(kinds: Mapping[str, Any]) -> str | None:
    """The name of the first column of pictures, if there is one among columns of such types."""
    return next((name for name, kind in kinds.items() if _is_pictures(kind)), None)


def examples(table: Table, name: str, path: Path, wanted: UserData) -> UserExamples:
    """The pictures in a column of a table, and its label.

    Raises:
        UserError: there are none, some cannot be used, or the label is unfit.
    """
    pictures = table.columns[name]
    if not len(pictures):
        raise UserError(f"{path} holds 0 examples: give some")
    codes, labelled = labels(table, path, wanted)
    named = ((f"{path}: {name} of row {row}", source) for row, source in enumerate(_each(pictures)))
    values, notes = decoding.decoded(named, len(pictures), path, wanted, "rows")
    said = f"{path.name}: {decoding.described(values)}, of {columns([name])}{labelled}"
    others = [other for other in table.columns if other not in (name, wanted.label)]
    left = [f"left out: {columns(others)}"] if others else []
    return UserExamples(values, (), codes, (said, *notes, *table.notes, *left))


def sizes(table: Table) -> set[decoding.Size]:
    """Of a table's pictures as they are stored, if it has any."""
    name = column(table.kinds)
    if name is None:
        return set()
    return decoding.sizes(s for s in _each(table.columns[name]) if isinstance(s, bytes))


def _is_pictures(kind: Any) -> bool:
    return (
        pa.types.is_struct(kind)
        and kind.num_fields == len(FIELDS)
        and all(kind.get_field_index(name) >= 0 for name in FIELDS)
    )


def _each(pictures: Any) -> Iterator[Encoded | str]:
    """The bytes of every row, or in words why there are none."""
    for row in pictures:
        yield _encoded(row.as_py() or {})


def _encoded(picture: dict[str, Any]) -> Encoded | str:
    if isinstance(picture.get("bytes"), bytes):
        return picture["bytes"]
    if picture.get("path") is None:
        return "holds no picture: remove such rows"
    shown = printable(str(picture["path"])[-SHOWN:])
    return (
        f"holds the path {shown!r} in place of a picture, which otgan does not open: store the"
        " pictures, as dataset.save_to_disk(folder) does"
    )

"""The user's tables: a `.csv`, `.tsv` or `.parquet`, or another reader's, whose numeric columns are
points, and perhaps one column labels.
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet
from pyarrow import csv as arrow_csv

from otgan.config import UserData
from otgan.data import dialect
from otgan.data.dialect import SEPARATORS
from otgan.data.examples import (
    MOST_BYTES,
    UserExamples,
    coded,
    columns_flag,
    finite,
    listed,
    named,
    require_few_values,
)
from otgan.errors import UserError

PARQUET = ".parquet"
COMPRESSED = ".gz"
ROW_NUMBERS = ("", "Unnamed: 0", "__index_level_0__")
"""What writers call a column that numbers the rows."""

BLOCK = 32 * 2**20
"""Bytes of text that are parsed at once: a line may not be longer."""


class Table(NamedTuple):
    """A table's columns by name, and what is to be said of how they were found."""

    columns: dict[str, Any]  # of pyarrow's ChunkedArray
    notes: list[str]
    separator: str = ","  # of its values, in a text

    @property
    def kinds(self) -> dict[str, Any]:
        """The types of its columns, Arrow's, by name."""
        return {name: column.type for name, column in self.columns.items()}


def is_table(path: Path) -> bool:
    """Whether a file's name is that of a table."""
    return _suffix(path) in SEPARATORS or is_parquet(path)


def is_parquet(path: Path) -> bool:
    """Whether a file's name is that of a table whose columns may hold pictures."""
    return _suffix(path) == PARQUET


def kinds(path: Path) -> dict[str, Any]:
    """The types of a `.parquet` file's columns, Arrow's, by name; of the rest nothing is read.

    Raises:
        UserError: it is no table.
    """
    with told(path):
        schema = parquet.read_schema(path)
        return dict(zip(schema.names, schema.types, strict=True))


def read(path: Path, wanted: UserData, chosen: list[str] | None = None) -> Table:
    """Read a file, or of a `.parquet` the chosen columns alone.

    Raises:
        UserError: it is no table, or a number that is wanted of a text may mean two things.
    """
    return _parquet(path, chosen) if is_parquet(path) else _text(path, wanted)


def examples(table: Table, path: Path, wanted: UserData) -> UserExamples:
    """The numeric columns of a table as points, or those that are wanted, and its label.

    Raises:
        UserError: a column is not there or holds no numbers, or values are missing.
    """
    _require_there(wanted.columns, table, path)
    chosen, notes = _chosen(table.columns, wanted)
    _require_numbers(chosen, table, path, wanted)
    require_few_values(len(chosen), path)
    _require_complete(chosen, table, path)
    values = _points([table.columns[name] for name in chosen])
    codes, labelled = labels(table, path, wanted)
    said = f"{path.name}: {len(values):,} rows of {columns(chosen)}{labelled}"
    return UserExamples(finite(values, path), tuple(chosen), codes, (said, *table.notes, *notes))


def labels(table: Table, path: Path, wanted: UserData) -> tuple[np.ndarray | None, str]:
    """The wanted label of every row as a whole number, if one is wanted, and what is said of them.

    Raises:
        UserError: the column is not there or holds no labels, or values are missing.
    """
    if wanted.label is None:
        return None, ""
    _require_there([wanted.label], table, path)
    column = table.columns[wanted.label]
    if pa.types.is_nested(column.type):
        raise UserError(
            f"{columns([wanted.label])} of {path} holds no labels (such as {_word(column, table)}):"
            " name one of words or whole numbers"
        )
    _require_complete([wanted.label], table, path)
    codes = coded(np.asarray(column.to_pylist()), wanted.label, path)
    return codes, f", {codes.max(initial=-1) + 1} labels in {wanted.label}"


# --- files ----------------------------------------------------------------------------------------


def _suffix(path: Path) -> str:
    """`.csv` of `x.csv` and of `x.csv.gz`."""
    name = path.name.lower().removesuffix(COMPRESSED)
    return Path(name).suffix


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Whatever Arrow finds wrong with a file, as one sentence.

    Raises:
        UserError: something is.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, csv.Error) as error:
        if isinstance(error, MemoryError):
            raise
        first = (str(error).splitlines() or [""])[0][:200]
        why = "".join(letter if letter.isprintable() else "?" for letter in first)
        raise UserError(f"{path} cannot be read as a table ({why}): mend it") from error


def _text(path: Path, wanted: UserData) -> Table:
    with told(path):
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES >> 30} GiB: take fewer rows")
        with pa.input_stream(str(path), compression="detect") as stream:
            text = stream.read(BLOCK).decode("utf-8-sig", "replace")
        sample, first = dialect.lines(text), text.partition("\n")[0]
        separator = dialect.separator(sample or [first], SEPARATORS[_suffix(path)])
        words = next(csv.reader([first], delimiter=separator), [])
        require_few_values(len(words), path)
        headed = not _are_numbers(words, separator)
        dialect.require_clear(sample, separator, headed, path)
        form = _Form(path, separator, headed)
        found = form.parsed(".")
        chosen, _ = _chosen(found.column_names, wanted)
        taken = {k for k, name in enumerate(found.column_names) if name in chosen}
        if separator != ",":
            dialect.require_no_groups(dialect.rows_of(sample, separator)[headed:], taken, path)
        found, notes = _with_commas(found, form, taken)
    if not headed:
        notes.append(f"{path.name} names no columns in its first line: they are numbered from 0")
    return as_table(found, notes, path)._replace(separator=separator)


class _Form(NamedTuple):
    """How a text is written."""

    path: Path
    separator: str
    headed: bool

    def parsed(self, mark: str) -> pa.Table:
        """Its table, the decimals of its numbers marked so."""
        found = arrow_csv.read_csv(
            self.path,
            arrow_csv.ReadOptions(
                block_size=BLOCK,
                autogenerate_column_names=not self.headed,
                use_threads=False,  # or messages do not say in which row something is wrong
            ),
            arrow_csv.ParseOptions(delimiter=self.separator),
            arrow_csv.ConvertOptions(strings_can_be_null=True, decimal_point=mark),
        )
        names = [name.strip() for name in found.column_names] if self.headed else None
        return found.rename_columns(names or [*map(str, range(found.num_columns))])


def _with_commas(found: pa.Table, form: _Form, taken: set[int]) -> tuple[pa.Table, list[str]]:
    """A text's table or, if that makes numbers of words and words of no number in the columns that
    are taken, the same with decimal commas; and what is to be said of that.

    Raises:
        UserError: a number in these columns may have decimals or thousands.
    """
    if not any(_points_may_group(column, form.separator) for column in found.columns):
        return found, []
    again = form.parsed(",")
    pointed = _places_of_points(found, again)
    for k in sorted(taken.intersection(pointed)):
        dialect.require_points(_words(again.column(k)), form.path)
    columns = found.columns if form.separator != "," else []
    comma = [k for k, column in enumerate(columns) if _has_commas(column)]
    if taken.isdisjoint(comma) or not taken.isdisjoint(pointed):
        return found, []
    telling = [k for k in comma if k in taken or not pointed]
    said = dialect.require_decimal(
        (
            word
            for k in sorted(telling, key=lambda k: k not in taken)
            for word in _words(columns[k])
        ),
        form.path,
    )
    return again, [f"{form.path.name} has decimal commas: {said}"]


def _places_of_points(found: pa.Table, again: pa.Table) -> list[int]:
    """Of columns that hold numbers only if their decimals are marked by points."""
    pairs = enumerate(zip(found.columns, again.columns, strict=True))
    return [k for k, (one, other) in pairs if _is_numeric(one) and not _is_numeric(other)]


def _words(column: pa.ChunkedArray) -> Iterator[str]:
    return (str(word) for chunk in column.chunks for word in chunk if word)


def _points_may_group(column: pa.ChunkedArray, separator: str) -> bool:
    """Whether a column of words says that points may group thousands in the others."""
    if not pa.types.is_string(column.type):
        return False
    tells = compute.match_substring_regex(column, dialect.TELLING)  # pyright: ignore[reportAttributeAccessIssue]
    return dialect.points_may_group(_words(column.filter(tells)), separator)


def _has_commas(column: pa.ChunkedArray) -> bool:
    """Whether a column's words are numbers with decimal commas, all of them."""
    if not pa.types.is_string(column.type):
        return False
    fits = compute.match_substring_regex(column, dialect.COMMA_NUMBER)  # pyright: ignore[reportAttributeAccessIssue]
    return bool(compute.all(fits).as_py())  # pyright: ignore[reportAttributeAccessIssue]


def _are_numbers(words: list[str], separator: str) -> bool:
    """Whether the first line is data: numbers, but not those that number columns."""
    with suppress(ValueError):
        numbers = [dialect.value(word, separator) for word in words]
        return numbers != [*range(len(words))]
    return False


def _parquet(path: Path, chosen: list[str] | None) -> Table:
    with told(path), parquet.ParquetFile(path) as file:
        head = file.metadata
        groups = [head.row_group(i).total_byte_size for i in range(head.num_row_groups)]
        require_room(max(head.num_rows * max(1, head.num_columns) * 8, sum(groups)), path)
        found = file.read(columns=chosen)
    return as_table(found, [], path)


def require_room(size: int, path: Path) -> None:
    """Refuse a table of so many bytes that memory does not hold it.

    Raises:
        UserError: they are too many.
    """
    if size > MOST_BYTES:
        raise UserError(
            f"{path} holds a table of {size / 2**30:.0f} GiB, more than {MOST_BYTES >> 30} GiB:"
            " take fewer rows"
        )


def as_table(found: pa.Table, notes: list[str], path: Path) -> Table:
    """What Arrow found, by names of its columns, checked to the last offset: what reads on trusts
    it.

    Raises:
        UserError: it is damaged, or two columns have one name.
    """
    with told(path):
        found.validate(full=True)
        names = found.column_names
    if twice := {name for name in names if names.count(name) > 1 and name}:
        raise UserError(f"{path} has several columns called {named(sorted(twice))}: rename them")
    return Table(dict(zip(names, found.columns, strict=True)), notes)


# --- columns --------------------------------------------------------------------------------------


def columns(names: list[str]) -> str:
    """Their names, for a sentence."""
    return f"the column{'s' if len(names) > 1 else ''} {named(names)}"


def _require_there(names: Sequence[str], table: Table, path: Path) -> None:
    if unknown := [name for name in names if name not in table.columns]:
        raise UserError(
            f"{path} has no column {listed(map(repr, unknown))}: it has {named(table.columns)}"
        )


def _chosen(names: Iterable[str], wanted: UserData) -> tuple[list[str], list[str]]:
    """The names of the columns that are taken, and what is said of those that are not."""
    if wanted.columns:
        return [*wanted.columns], []
    names = [*names]
    numbering = [name for name in names if name in ROW_NUMBERS]
    chosen = [name for name in names if name not in (*numbering, wanted.label)]
    left = f"left out: the column {numbering[0]!r}, which numbers the rows" if numbering else ""
    return chosen, [left] if left else []


def _require_numbers(chosen: list[str], table: Table, path: Path, wanted: UserData) -> None:
    numeric = [name for name in chosen if _is_numeric(table.columns[name])]
    others = [name for name in chosen if name not in numeric]
    _require_no_bytes(others, numeric, table, path)
    _require_no_marks(others, numeric, table, path)
    if not numeric:
        raise UserError(
            f"{path} has no column of numbers to take as points{_such_as(others, table)}: write one"
            " for each coordinate, or save an array (n, d) with numpy.save"
        )
    if others:
        label = (
            ""
            if wanted.label is not None
            else (f", or name a label with --label {shlex.quote(others[0])}")
        )
        raise UserError(
            f"{columns(others)} of {path} hold{'' if len(others) > 1 else 's'} no numbers (such as"
            f" {_word(table.columns[others[0]], table)}): take those that do with"
            f" {_columns_flag(numeric)}{label}"
        )


def _require_no_bytes(others: list[str], numeric: list[str], table: Table, path: Path) -> None:
    """Refuse bytes, which are pictures as a rule; a text has them only where it is damaged."""
    types = pa.types
    kinds = types.is_binary, types.is_large_binary, types.is_fixed_size_binary
    held = [name for name in others if any(of(table.kinds[name]) for of in kinds)]
    if held and _suffix(path) not in SEPARATORS:
        numbers = f", or take its numbers with {_columns_flag(numeric)}" if numeric else ""
        raise UserError(
            f"{columns(held[:1])} of {path} holds bytes: otgan reads pictures stored as Hugging"
            f" Face's Image, so store them as that{numbers}"
        )


def _require_no_marks(others: list[str], numeric: list[str], table: Table, path: Path) -> None:
    """Refuse words that are numbers, but for their decimal commas or what stands between their
    thousands.
    """
    for name in others:
        if dialect.is_marked(word := _word(table.columns[name], table)):
            numbers = f", or take the others with {_columns_flag(numeric)}" if numeric else ""
            raise UserError(f"{columns([name])} of {path} holds {word}: {dialect.REWRITE}{numbers}")


def _columns_flag(names: list[str]) -> str:
    return f"{columns_flag(names[:20])}{'...' if len(names) > 20 else ''}"


def _such_as(names: list[str], table: Table) -> str:
    """What a column that is no coordinate holds, if there is one."""
    return f" ({named(names[:1])} holds {_word(table.columns[names[0]], table)})" if names else ""


def _is_numeric(column: Any) -> bool:
    """Whether a column holds numbers; a column of missing values alone counts as one."""
    kind, types = column.type, pa.types
    return any(
        of(kind) for of in (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    )


def _word(column: Any, table: Table) -> str:
    """The first value that is no number, for a sentence; of numbers that are marked in two ways,
    the first with a comma.
    """
    marked = ""
    with suppress(UnicodeDecodeError):  # of names within a damaged one
        for value in column.to_pylist():
            if value is None or _is_float(value):
                continue
            if not dialect.is_number(str(value), table.separator):
                return repr(value)[:40]
            marked = marked or repr(value)[:40]
    return marked or str(column.type)


def _is_float(value: Any) -> bool:
    """Whether Python makes a number of a value."""
    with suppress(TypeError, ValueError):
        float(value)
        return True
    return False


def _require_complete(names: list[str], table: Table, path: Path) -> None:
    """Refuse missing values: which of them would be drawn, nobody could say."""
    holes = {name: mask for name in names if (mask := _missing(table.columns[name])).any()}
    if holes:
        rows = np.logical_or.reduce([*holes.values()])
        counts = listed(f"{int(mask.sum()):,} in {named([name])}" for name, mask in holes.items())
        raise UserError(
            f"values are missing in {int(rows.sum()):,} of the {len(rows):,} rows of {path}"
            f" ({counts}): fill them in, remove these rows, or leave the columns out with --columns"
        )


def _missing(column: Any) -> np.ndarray:
    return np.asarray(column.is_null(nan_is_null=True))


def _points(columns: list[Any]) -> np.ndarray:
    """(n, d) float32, a column at a time, so that no second copy of all is made."""
    values = np.empty((len(columns[0]), len(columns)), np.float32)
    with np.errstate(over="ignore"):
        for k, column in enumerate(columns):
            values[:, k] = column.cast(pa.float64(), safe=False).to_numpy()
    return values

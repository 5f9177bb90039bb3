"""How a text of numbers is written: what separates its values, and what its decimals are marked by.

A comma between two digits may separate two values, mark decimals, or group thousands. Where the
text does not say which, it is refused: a guess would be wrong numbers that nobody sees.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from otgan.errors import UserError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
SAMPLE = 2**16  # letters, by whose lines a text is judged

WHOLE = re.compile(r"\s*[+-]?\d+\s*")
COMMA_NUMBER = r"^\s*[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+)?\s*$"
"""A number whose decimals, if it has any, are marked by a comma."""

GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+")
"""What may be a whole number with its thousands apart, or a number with three decimals."""

TELLING = r"^\s*[+-]?([\d.]*,[\d.,]*([eE][+-]?\d+)?|\d{1,3}(\.\d{3}){2,})\s*$"
"""A number with a comma, or with more than one point: it may tell what a point stands for."""

COMMA_GROUPS = re.compile(r"\d,\d{3}[.,]")
POINT_GROUPS = re.compile(r"\d\.\d{3}[.,]")

MARKED = re.compile(r"'\s*[+-]?\d*([.,]\d+)+([eE][+-]?\d+)?\s*'")
FEW_DIGITS = re.compile(r"[+-]?\d{1,3}")

REWRITE = "write decimals with a point, and nothing between thousands"


def lines(text: str) -> list[str]:
    """The first whole lines of a text that are not empty."""
    found = text[:SAMPLE].splitlines()
    whole = found[:-1] if len(text) > SAMPLE else found
    return [line for line in whole if line.strip()]


def rows_of(sample: Sequence[str], separator: str) -> list[list[str]]:
    """The values of every line; none if they cannot be told apart."""
    try:
        return list(csv.reader(sample, delimiter=separator))
    except csv.Error:
        return []


def separator(sample: Sequence[str], usual: str) -> str:
    """What separates values: a comma, a semicolon or a tab.

    The one that cuts every line into as many values, and most of them into numbers.

    Args:
        sample: lines of the text.
        usual: of a file that is called so.
    """
    best, most = None, 0.0
    for candidate in (usual, *(sign for sign in ",;\t" if sign != usual)):
        rows = rows_of(sample, candidate)
        if len({len(row) for row in rows}) != 1 or len(rows[0]) == 1:
            continue
        words = [word for row in rows[1:] for word in row]
        share = sum(is_number(word, candidate) for word in words) / max(1, len(words))
        if best is None or share > most:
            best, most = candidate, share
    if best is None and usual == "," and sample and sample[0].count(";") > sample[0].count(","):
        return ";"
    return best or usual


def is_number(word: str, separator: str) -> bool:
    """Whether a word is a number."""
    try:
        value(word, separator)
    except ValueError:
        return False
    return True


def value(word: str, separator: str) -> float:
    """A number with a decimal point or, where commas separate nothing, a decimal comma.

    Raises:
        ValueError: it is none.
    """
    marked = separator != "," and re.match(COMMA_NUMBER, word)
    return float(word.replace(",", ".") if marked else word)


def is_marked(word: str) -> bool:
    """Whether a word in quotes is a number, with decimal commas or marks between thousands."""
    return MARKED.fullmatch(word) is not None


def require_clear(sample: Sequence[str], separator: str, headed: bool, path: Path) -> None:
    """See that lines do not look as if commas both separated values and marked decimals.

    Args:
        sample: lines of the text.
        separator: what separates its values.
        headed: whether the first line names columns.
        path: for messages.

    Raises:
        UserError: they do.
    """
    rows = rows_of(sample, separator)
    torn = _are_halves(rows[1:], 2 * len(rows[0])) if headed and rows else _are_torn(rows)
    if separator == "," and torn:
        names = "" if headed else ", or name the columns in a first line"
        raise UserError(
            f"the decimals of {path} seem to be marked by commas, which separate its values as well"
            f" ({sample[-1][:40]}): write decimals with a point, or separate values by semicolons"
            f"{names}"
        )


def require_no_groups(rows: Sequence[Sequence[str]], taken: set[int], path: Path) -> None:
    """Refuse 1.234 among words like 567, if no point in the text is surely that of a decimal.

    Args:
        rows: the values of lines, without the names of columns.
        taken: places of the columns that are judged.
        path: for messages.

    Raises:
        UserError: one of them has such words.
    """
    words = [word.strip() for row in rows for word in row if "." in word]
    pointed = {word for word in words if is_number(word, ";")}
    if not all(map(GROUPED.fullmatch, pointed)):
        return
    for k, column in enumerate(zip(*rows, strict=False)):
        words = [word.strip() for word in column]
        grouped = [word for word in words if word in pointed]
        plain = [word for word in words if FEW_DIGITS.fullmatch(word)]
        if k in taken and grouped and plain and len(grouped) + len(plain) == len(words):
            raise _two_things(grouped[0], ".", path)


def points_may_group(words: Iterable[str], separator: str) -> bool:
    """Whether words of one column say that points may group thousands in the others: 3,90 and
    1.234,5 do, 1,234,567 does not, and 1,234 does where commas separate nothing.

    Args:
        words: those that `TELLING` matches.
        separator: what separates values.
    """
    perhaps = False
    for word in map(str.strip, words):
        if COMMA_GROUPS.search(word):
            return False
        if POINT_GROUPS.search(word):
            return True
        if re.match(COMMA_NUMBER, word):
            if not GROUPED.fullmatch(word):
                return True
            perhaps = separator != ","
    return perhaps


def require_points(words: Iterable[str], path: Path) -> None:
    """See that points in a column's numbers mark decimals, in a text whose points may group
    thousands: that one of them cannot.

    Raises:
        UserError: all of them can.
    """
    first = ""
    for word in (each.strip() for each in words if "." in each):
        if not GROUPED.fullmatch(word):
            return
        first = first or word
    if first:
        raise _two_things(first, ".", path)


def require_decimal(words: Iterable[str], path: Path) -> str:
    """See that commas in numbers mark decimals: that one of them cannot group thousands.

    Returns what one of them is read as, for a sentence.

    Raises:
        UserError: all of them can.
    """
    first = ""
    for word in (each.strip() for each in words if "," in each):
        if not GROUPED.fullmatch(word):
            return f"{word} is read as {word.replace(',', '.')}"
        first = first or word
    raise _two_things(first, ",", path)


def _two_things(word: str, mark: str, path: Path) -> UserError:
    """What is said of a number whose mark may be that of decimals or of thousands."""
    return UserError(
        f"{word} in {path} may be {word.replace(mark, '.')} or {word.replace(mark, '')}: {REWRITE}"
    )


def _are_halves(rows: Sequence[Sequence[str]], length: int) -> bool:
    """Whether each row has so many values, all of them whole numbers."""
    return bool(rows) and all(len(row) == length and all(map(WHOLE.fullmatch, row)) for row in rows)


def _are_torn(rows: Sequence[Sequence[str]]) -> bool:
    """Whether rows without names are halves of numbers: -0, or 076 behind each other one."""
    length = len(rows[0]) if rows else 1
    return (
        length % 2 == 0
        and _are_halves(rows, length)
        and all(word.strip().isdecimal() for row in rows for word in row[1::2])
        and any(
            any(word.strip() == "-0" for word in row[::2])
            or any(len(word.strip()) > 1 and word.strip()[0] == "0" for word in row[1::2])
            for row in rows
        )
    )

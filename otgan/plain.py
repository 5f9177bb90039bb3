"""JSON and TOML as plain data, and its tables as one; paths and lists as users write them.

What is nested so deep that walking through it would exhaust Python's stack is refused.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DEEPEST = 50  # tables and lists in one another; ours have less than ten


# C0 but for the end of a line and the tab, DEL, and C1
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LONGEST_NAME, LONGEST_PATH = 255, 4_000  # bytes; Linux has 255 and 4,096


class TooDeepError(ValueError):
    """A text nests its values deeper than anything of ours."""

    def __init__(self) -> None:
        super().__init__(f"its values are nested more than {DEEPEST} deep")


def from_json(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON, or too deep.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise TooDeepError from None
    return _shallow(found)


def from_toml(text: str) -> dict[str, Any]:
    """What a TOML text holds.

    Raises:
        ValueError: it is no TOML, or too deep.
    """
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise TooDeepError from None
    return _shallow(found)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Tables as one, by dotted key."""
    if not isinstance(tree, dict):
        return {prefix[:-1]: tree}
    return {
        key: value
        for name, inner in tree.items()
        for key, value in flat(inner, f"{prefix}{name}.").items()
    }


def nested(leaves: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """The tables whose values have names of several words: what `flat` made one."""
    tree: dict[str, Any] = {}
    for key, value in leaves.items():
        *tables, last = key.split(separator)
        inner = tree
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[last] = value
    return tree


def _shallow(found: Any) -> Any:
    """What was read, level by level: no recursion here either."""
    level = [found]
    for _ in range(DEEPEST + 1):
        inner = [value for value in level if isinstance(value, dict | list)]
        if not inner:
            return found
        level = [
            part
            for value in inner
            for part in (value.values() if isinstance(value, dict) else value)
        ]
    raise TooDeepError


def comma_separated(text: str) -> list[str]:
    """The words of a list, without spaces around them; one that holds a comma or an end of line is
    quoted, as in a line of CSV.

    Raises:
        ValueError: a quote does not end, or a line does outside of quotes.
    """
    try:
        (words,) = csv.reader([text], skipinitialspace=True, strict=True)
    except csv.Error as error:
        if "new-line" in str(error):
            raise ValueError("a name that holds an end of line must stand in quotes") from None
        raise ValueError('a quoted name must end with a quote and a comma: "a,b",c') from None
    return [word.strip() for word in words] or [""]


def with_commas(words: Iterable[str]) -> str:
    """Words as one that `comma_separated` reads."""
    line, end = io.StringIO(), "\r\n"  # Python 3.11 quotes ends of lines of this kind alone
    csv.writer(line, lineterminator=end).writerow(words)
    return line.getvalue().removesuffix(end)


def require_path(text: str) -> str:
    """A text that a file may be called by, as it is.

    Raises:
        ValueError: no file can be called so.
    """
    try:
        longest = max(map(len, os.fsencode(text).split(b"/")))
        whole = len(os.fsencode(text))
    except UnicodeEncodeError:
        raise ValueError("no path: it holds half a character") from None
    if "\0" in text:
        raise ValueError("no path: it holds a NUL")
    if longest > LONGEST_NAME or whole > LONGEST_PATH:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise ValueError(f"no path: {shown!r} is too long, {whole:,} bytes")
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"no path: there is no home of the user that {text!r} names") from None
    return text


def whole_path(text: str) -> str:
    """A path named from the root, as a record needs it that is read from another folder.

    Raises:
        ValueError: no file can be called so.
    """
    return str(Path(require_path(text)).expanduser().resolve())


def require_printable(text: str) -> str:
    """A text without control codes, as it is.

    Raises:
        ValueError: it has some.
    """
    if CONTROL.search(text):
        raise ValueError("it holds control codes")
    return text


def printable(text: str) -> str:
    """A text whose control codes are written out, all but ends of lines and tabs."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)

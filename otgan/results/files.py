"""JSON files that a run may have left half written, or a hand have changed: what is sound is taken, the rest is named. No JAX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from otgan.plain import from_json

Plain = dict[str, Any]


def number(value: Any) -> float | None:
    """A finite number as float, and None for whatever else a file may hold."""
    try:
        return float(value) if isinstance(value, (float, int)) and math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def table(value: Any) -> Plain:
    """A table, and an empty one for whatever else a file may hold."""
    return value if isinstance(value, dict) else {}


def read_table(path: Path, problems: list[str]) -> Plain:
    """A file that holds one JSON table; empty, and a sentence more in `problems`, where it does not."""
    try:
        found = from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{path.name} is not there")
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} could not be read ({str(error).splitlines()[0][:120]})")
    else:
        if isinstance(found, dict):
            return found
        problems.append(f"{path.name} holds no table")
    return {}


def read_lines(path: Path, sound: Callable[[Plain], bool], problems: list[str]) -> list[Plain]:
    """A file with a JSON table a line; none where it is not there. Lines that are none, or not sound, are counted in `problems`."""
    if not path.is_file():
        return []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        problems.append(f"{path.name} could not be read ({error.strerror})")
        return []
    found = [parsed for parsed in map(_parsed, lines) if parsed and sound(parsed)]
    if len(found) < len(lines):
        problems.append(f"{path.name}: {len(lines) - len(found):,} of {len(lines):,} lines could not be read")
    return found


def dig(tree: Mapping[str, Any], dotted: str) -> Any:
    """The value at a dotted key; None where there is none."""
    found: Any = tree
    for name in dotted.split("."):
        found = table(found).get(name)
    return found


def _parsed(line: bytes) -> Plain | None:
    try:
        found = from_json(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None

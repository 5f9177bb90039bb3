"""JSON and TOML as plain data, refused where they are nested so deep that walking through them would exhaust Python's stack."""

from __future__ import annotations

import json
import tomllib
from typing import Any

DEEPEST = 50  # tables and lists in one another; ours have less than ten


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


def _shallow(found: Any) -> Any:
    """What was read, level by level: no recursion here either."""
    level = [found]
    for _ in range(DEEPEST + 1):
        inner = [value for value in level if isinstance(value, dict | list)]
        if not inner:
            return found
        level = [part for value in inner for part in (value.values() if isinstance(value, dict) else value)]
    raise TooDeepError

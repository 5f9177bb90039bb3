"""Which measures a sweep asks for of its cells, and which have been taken of one, as its folder records them. No JAX.

eval/judged.json    the flags of the measures, and by which version of the code
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from otgan.files import read_table, write_atomically
from otgan.runs import CELLS, SWEEP, RunFolder

JUDGED = "judged.json"


def asked(folder: RunFolder) -> list[str]:
    """The measures that the sweep asks for which a folder is a cell of; none of a run of its own."""
    cells = folder.path.absolute().parent
    record = cells.parent / SWEEP
    return _words(read_table(record, []).get("eval")) if cells.name == CELLS and record.is_file() else []


def judged(folder: RunFolder) -> list[str]:
    """The measures that this version of the code has taken of a cell: those of another are not compared with its own."""
    found = read_table(folder.eval / JUDGED, [])
    return _words(found.get("measures")) if found.get("code") == code_digest() else []


def note_judged(folder: RunFolder, measures: Iterable[str]) -> None:
    """Say that measures have been taken."""
    record = {"measures": [*dict.fromkeys([*judged(folder), *measures])], "code": code_digest()}
    write_atomically(folder.eval / JUDGED, json.dumps(record, indent=2) + "\n")


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


@cache
def code_digest() -> str:
    """A hash of the source files that a score depends on: what was computed by other code is neither read from the cache nor compared."""
    package = Path(__file__).parent.parent
    sources = [package / "features.py", *(package / "evaluation" / f"{name}.py" for name in ("evidence", "measures"))]
    sources += sorted([*(package / "metrics").glob("*.py"), *(package / "models").glob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]

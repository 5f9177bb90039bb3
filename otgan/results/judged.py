"""Which measures a sweep asks for of its cells, and which have been taken of one, as its folder
records them. No JAX.

eval/judged.json    the flags of the measures, and under which versions of them
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from otgan import versions
from otgan.files import read_table, write_atomically
from otgan.results.declared import ALL
from otgan.runs import SWEEP, RunFolder

JUDGED = "judged.json"


def asked(folder: RunFolder) -> list[str]:
    """The measures that the sweep asks for which a folder is a cell of; none of a run of its
    own.
    """
    return _words(read_table(folder.sweep / SWEEP, []).get("eval")) if folder.sweep else []


def judged(folder: RunFolder) -> list[str]:
    """The measures that have been taken of a cell by today's versions of them: what others measured
    is not compared with it.
    """
    found = read_table(folder.eval / JUDGED, [])
    return _words(found.get("measures")) if found.get("code") == versions_digest() else []


def note_judged(folder: RunFolder, measures: Iterable[str]) -> None:
    """Say that measures have been taken."""
    record = {"measures": [*dict.fromkeys([*judged(folder), *measures])], "code": versions_digest()}
    write_atomically(folder.eval / JUDGED, json.dumps(record, indent=2) + "\n")


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def versions_digest() -> str:
    """A hash of all versions: what was measured under others is measured anew."""
    measures = {measure.name: measure.version for measure in ALL}
    return hashlib.sha256(
        repr((measures, versions.SAMPLING, versions.TRANSPORT, versions.NETWORKS)).encode()
    ).hexdigest()[:8]

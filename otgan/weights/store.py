"""A network's parameters as one safetensors file: named arrays, a few facts about them, and the
hash that names both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from otgan.errors import UserError
from otgan.files import write_atomically
from otgan.plain import from_json, nested

SEPARATOR = "/"  # between the names of nested modules
# the metadata's one entry, in JSON; files of other programs have entries of their own
FACTS = "facts"


class Weights(NamedTuple):
    """A network's parameters.

    Attributes:
        parameters: nested as Flax nests them, float32 whatever the file's type.
        facts: what the file says of itself: `network` (its architecture), and for trained networks
            recipe and accuracy.
        digest: SHA-256 of the file.
    """

    parameters: dict[str, Any]
    facts: dict[str, str]
    digest: str


def write(path: Path, parameters: Mapping[str, Any], facts: Mapping[str, str]) -> None:
    """Save parameters, in the types that they have.

    The file appears whole or not at all, and equal contents give equal files.
    """
    arrays = {name: np.ascontiguousarray(value) for name, value in flat(parameters)}
    # As one entry, because safetensors writes several in an order that changes from process to
    # process.
    write_atomically(path, save(arrays, metadata={FACTS: json.dumps(dict(facts), sort_keys=True)}))


def read(path: Path) -> Weights:
    """Read a file of parameters.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        digest = sha256(path)
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            facts = from_json(metadata[FACTS]) if FACTS in metadata else metadata
            arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give a .safetensors file of weights") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(
            f"{path} holds no weights that can be read ({error})".splitlines()[0]
        ) from None
    return Weights(nested(arrays, SEPARATOR), facts, digest)


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Nested arrays with the names that they have in the file."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}{SEPARATOR}")
        else:
            yield f"{prefix}{name}", np.asarray(value)

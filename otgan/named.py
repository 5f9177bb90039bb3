"""Named experiments, and where they lie: otgan's own, those in folders on `OTGAN_EXPERIMENTS`,
those of other packages. No JAX.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from otgan import plugins
from otgan.errors import UserError
from otgan.plain import LONGEST_NAME

_PACKAGE = Path(__file__).parent
FOLDERS = (_PACKAGE / "experiments", _PACKAGE.parent / "experiments")  # in a wheel; in a checkout
VARIABLE = "OTGAN_EXPERIMENTS"  # of the environment: folders, separated as those of PATH are
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


class Named(NamedTuple):
    """An experiment of somebody else's."""

    name: str
    path: Path
    origin: str  # the folder, or the package


def names() -> list[str]:
    """Otgan's own experiments, in alphabetical order."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def elsewhere() -> list[Named]:
    """The experiments that lie elsewhere, by name.

    Also those that cannot be used, as `clashes` says.
    """
    places = [(str(folder), folder) for folder in _on_variable()] + plugins.experiment_folders()
    found = [
        Named(path.stem, path, origin)
        for origin, folder in places
        for path in folder.glob("*.toml")
    ]
    return sorted(
        {experiment.path.resolve(): experiment for experiment in reversed(found)}.values()
    )


def find(name: str) -> Path | None:
    """The file of a named experiment; None where there is none of that name.

    Otgan's own come first.

    Raises:
        UserError: two are called so.
    """
    if not NAME.fullmatch(name) or len(f"{name}.toml".encode()) > LONGEST_NAME:
        return None
    if (own := _folder() / f"{name}.toml").is_file():
        return own
    found = [experiment for experiment in elsewhere() if experiment.name == name]
    if len(found) > 1:
        raise UserError(_twice(name, found))
    return found[0].path if found else None


def clashes() -> list[str]:
    """Sentences on names that are not somebody else's to give, on those that are given twice, and
    on folders that are not there.
    """
    found, own = elsewhere(), set(names())
    taken = [
        f"{each.path} is not used: otgan has an experiment of that name; rename it"
        for each in found
        if each.name in own
    ]
    twice = {
        each.name: [other for other in found if other.name == each.name]
        for each in found
        if each.name not in own
    }
    missing = [
        f"{folder}, on {VARIABLE}, is no folder" for folder in _on_variable() if not folder.is_dir()
    ]
    return [
        *taken,
        *(_twice(name, those) for name, those in twice.items() if len(those) > 1),
        *missing,
    ]


def _twice(name: str, found: list[Named]) -> str:
    return (
        f"the experiment {name!r} is there twice, in"
        f" {' and '.join(str(each.path) for each in found)}: rename one, or give its path"
    )


def _on_variable() -> list[Path]:
    return [
        Path(word).expanduser() for word in os.environ.get(VARIABLE, "").split(os.pathsep) if word
    ]


def _folder() -> Path:
    return next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])

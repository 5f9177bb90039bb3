"""What other installed packages add to otgan, found through their entry points: see
docs/plugins.md. No JAX.

A package is looked for only when something is asked for that is not otgan's own, and imported only
when that is used: one that is broken stops nobody who asks nothing of it. Names of otgan's own are
never another package's.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from otgan.errors import UserError


class Kind(Enum):
    """What a package may add: the word for it, and the group of its entry points."""

    FAMILY = "family", "otgan.families"
    MEASURE = "measure", "otgan.measures"
    FEATURES = "feature network", "otgan.features"
    DATA = "data set", "otgan.data"
    EXPERIMENTS = "folder of experiments", "otgan.experiments"

    @property
    def word(self) -> str:
        """For a reader."""
        return self.value[0]

    @property
    def group(self) -> str:
        """In a package's `pyproject.toml`."""
        return self.value[1]


@dataclass(frozen=True)
class FamilyPlugin:
    """A family of another package.

    Attributes:
        name: what `oracle.family` is in a config.
        config: its table of the config, a subclass of `otgan.config.Oracle` whose `family` is that
            name.
        make: what makes it of such a table, as the makers in `otgan.oracles` do.
    """

    name: str
    config: type[Any]
    make: Callable[..., Any]


@dataclass(frozen=True)
class DataPlugin:
    """A data set of another package.

    Attributes:
        name: what `data.kind` is in a config.
        config: its table of the config, a subclass of `otgan.config.Section` whose `kind` is that
            name.
        load: such a table, and the folder of prepared data or None -> an `otgan.data.Dataset`.
    """

    name: str
    config: type[Any]
    load: Callable[[Any, Path | None], Any]


@dataclass(frozen=True)
class FeaturesPlugin:
    """A feature network of another package.

    Attributes:
        name: what `otgan eval --features` calls it, and `cost.features` before the colon.
        make: the shape of an example -> an `otgan.features.Frozen`.
    """

    name: str
    make: Callable[[tuple[int, ...]], Any]


def names(kind: Kind) -> list[str]:
    """What other packages add of a kind, by name. Nothing is imported."""
    return sorted(_found(kind.group, tuple(sys.path)))


def origin(kind: Kind, name: str) -> str:
    """The packages that add something: `otgan-sliced 1.0`."""
    return " and ".join(
        _package(entry) for entry in _found(kind.group, tuple(sys.path)).get(name, ())
    )


def load(kind: Kind, name: str) -> Any:
    """What a package's entry point gives.

    Raises:
        UserError: there is none, there are several, or the package cannot be imported.
    """
    found = _found(kind.group, tuple(sys.path)).get(name, ())
    if not found:
        raise UserError(
            f"no installed package has a {kind.word} {name!r}: install the one that has"
        )
    entry, *others = found
    if others:
        raise UserError(_twice(kind, name))
    try:
        return entry.load()
    except Exception as error:
        raise refuse(kind, name, f"{type(error).__name__}: {error}") from error


def refuse(kind: Kind, name: str, why: str) -> UserError:
    """That what a package adds cannot be used."""
    return UserError(
        f"the {kind.word} {name!r} of {origin(kind, name)} cannot be used ({why.splitlines()[0]}):"
        " mend or uninstall it"
    )


def clashes(kind: Kind, own: Iterable[str]) -> list[str]:
    """Sentences on names that are not another package's to give, and on those that two packages
    give.
    """
    found, own = _found(kind.group, tuple(sys.path)), set(own)
    taken = [
        f"the {kind.word} {name!r} of {origin(kind, name)} is not used: otgan has one of that name"
        for name in found
        if name in own
    ]
    twice = [name for name, entries in found.items() if len(entries) > 1 and name not in own]
    return [*taken, *(_twice(kind, name) for name in twice)]


def _twice(kind: Kind, name: str) -> str:
    return f"the {kind.word} {name!r} is given by {origin(kind, name)}: uninstall all but one"


def experiment_folders() -> list[tuple[str, Path]]:
    """The folders of experiments that packages give, with the package's name. Nothing is
    imported.
    """
    found = _found(Kind.EXPERIMENTS.group, tuple(sys.path))
    places = [(_package(entry), _folder(entry)) for entries in found.values() for entry in entries]
    return [(package, folder) for package, folder in places if folder]


def _folder(entry: EntryPoint) -> Path | None:
    """Where a package of the entry point's name lies, by its top package, which can be found
    without importing it.
    """
    top, *inner = entry.module.split(".")
    spec = importlib.util.find_spec(top)
    roots = spec.submodule_search_locations if spec else None
    return next((folder for root in roots or () if (folder := Path(root, *inner)).is_dir()), None)


@lru_cache
def _found(group: str, path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of a group, by name, as the packages on `path` have them."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in sorted(entry_points(group=group), key=_package):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module

"""What several commands share: amounts, whole numbers, lists and paths as types of options, the one
that says where data are, and where tables are printed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console

from otgan import plugins
from otgan.config import Measures, parse_accuracy, parse_amount, parse_size
from otgan.plain import comma_separated, require_path

WIDTH = 200  # columns of what is not a terminal: wide enough not to break a path


class Parsed(click.ParamType):
    """A value that a function of the config reads. What is wrong goes on to the config, which tells
    all mistakes at once.
    """

    def __init__(self, name: str, parse: Callable[[Any], Any]):
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse."""
        try:
            return self._parse(value)
        except ValueError:
            return value


# `1.0`, in units of the cost, or `0.03x`, in multiples of the batch's mean cost
AMOUNT = Parsed("amount", parse_amount)
# that, or a rule by which every step sets its own: `adaptive`, `calibrated:0.3`
ACCURACY = Parsed("accuracy", parse_accuracy)
SIZE = Parsed("size", parse_size)  # `4GB`


class Whole(click.IntRange):
    """A whole number whose range help shows and the config checks, with all other mistakes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse."""
        return click.INT.convert(value, param, ctx)


class MeasureName(click.Choice):
    """A measure of otgan's own, or one that another package brings."""

    def __init__(self) -> None:
        super().__init__(get_args(Measures))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse."""
        return (
            value
            if value not in self.choices and value in plugins.names(plugins.Kind.MEASURE)
            else super().convert(value, param, ctx)
        )


class CommaSeparated(click.ParamType):
    """Values of a kind, separated by commas, each once; one that holds a comma is quoted.

    Args:
        kind: a type of click's, or a function that reads a word and raises `ValueError` where it
            cannot.
    """

    name = "list"

    def __init__(self, kind: click.ParamType | Callable[[str], Any]):
        self._kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple:
        """Parse."""
        if isinstance(value, tuple):
            return value
        try:
            words = comma_separated(str(value))
            if not all(words):
                self.fail(
                    "an empty value: give at least one, and commas between them, such as"
                    " 0.01,0.1,1",
                    param,
                    ctx,
                )
            return tuple(dict.fromkeys(self._read(word, param, ctx) for word in words))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)

    def _read(self, word: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return (
            self._kind.convert(word, param, ctx)
            if isinstance(self._kind, click.ParamType)
            else self._kind(word)
        )


def terminal() -> Console:
    """Where tables are printed."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


class PathType(click.Path):
    """A path, if a file can be called so."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See that it can."""
        try:
            require_path(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


DIR = PathType(path_type=Path, file_okay=False)
PATH = PathType(path_type=Path)
NAME_OR_FILE = PathType()  # as it is typed


def with_data_dir(command: Callable) -> Callable:
    """The option that says where prepared data sets are."""
    default = "TFDS_DATA_DIR, else ~/tensorflow_datasets"
    return click.option(
        "--data-dir",
        type=DIR,
        metavar="DIR",
        show_default=default,
        help="Folder of prepared TFDS data sets.",
    )(command)

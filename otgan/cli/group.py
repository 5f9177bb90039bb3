"""The command group: mistakes as one sentence, amounts and whole numbers as types, and what several
commands share.
"""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console

from otgan import __version__, plugins
from otgan.config import Measures, parse_amount
from otgan.errors import DamagedWarning, UserError
from otgan.plain import comma_separated, printable, require_path
from otgan.runs import FULL
from otgan.signals import Halted, exit_code_of, ignore

SAID = f"{__name__}.said"
WIDTH = 200  # columns of what is not a terminal: wide enough not to break a path


class Commands(click.Group):
    """A group whose commands end a `UserError`, and a full disk, as one sentence and exit
    code 2, and a signal as one sentence and the exit code that shells give it.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words of the command line, which are said again where it is to go on."""
        if ctx.parent is None:
            ctx.meta[SAID] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with _damage_told():
                return super().invoke(ctx)
        except UserError as error:
            said = str(error)
        except KeyboardInterrupt as error:
            halted = error if isinstance(error, Halted) else Halted()
            click.echo(halted.said, err=True)
            ctx.exit(exit_code_of(halted.number))
        except OSError as error:
            if error.errno not in FULL:
                raise
            said = (
                f"cannot write {error.filename or 'what is to be printed or kept'}"
                f" ({error.strerror}); make room and try again"
            )
            _leave_unprinted()
        finally:
            atexit.unregister(ignore)
            atexit.register(ignore)  # the last to be registered is the first to be called
        click.echo(f"Error: {printable(said)}", err=True)
        ctx.exit(2)


@contextmanager
def _damage_told() -> Iterator[None]:
    """A `DamagedWarning` is one line on the standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", DamagedWarning)
        earlier = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **rest: Any) -> None:
            if issubclass(category, DamagedWarning):
                click.echo(f"Warning: {printable(str(message))}", err=True)
            else:
                earlier(message, category, *place, **rest)

        warnings.showwarning = show
        yield


def said() -> tuple[str, ...]:
    """The words after `otgan` of the command line that is at work."""
    return click.get_current_context().meta[SAID]


def _leave_unprinted() -> None:
    """Where it is the standard output that is full, give up what waits for it, which the
    interpreter would try once more at its end.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class AmountType(click.ParamType):
    """`1.0`, in units of the cost, or `0.03x`, in multiples of the batch's mean cost."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse; what is wrong goes on to the config, which tells all mistakes at once."""
        try:
            return parse_amount(value)
        except ValueError:
            return value


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


@click.group(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 120,
    },
)
@click.version_option(__version__)
def main() -> None:
    """Train generative networks by explicit optimal transport, with a certified accuracy at every
    step.

    Begin with `otgan list`, then `otgan run sinkhorn-grid`.
    """

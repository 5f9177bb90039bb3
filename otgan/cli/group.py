"""The command group: which commands there are, of which only the one that is typed is imported, and
mistakes as one sentence.
"""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import click

from otgan import __version__
from otgan.cache import keep_programs
from otgan.errors import FULL, DamagedWarning, UserError
from otgan.plain import printable
from otgan.signals import Halted, exit_code_of, ignore

SAID = f"{__name__}.said"


class Listed(NamedTuple):
    """A command in the list of commands, not yet imported.

    Attributes:
        module: of `otgan.cli` that it is in.
        sentence: the first of its help, which the list of commands shows without importing it.
    """

    module: str
    sentence: str


COMMANDS = {
    "compose": Listed(
        "training",
        "Fit a map T from a run's generator G to its data; samples of the new run are T(G(z)).",
    ),
    "data": Listed(
        "data",
        "Which data sets there are, where they are looked for, and how to prepare them.",
    ),
    "diagnose": Listed(
        "diagnosing",
        "How exact a run's dual must be, what its batches do not see, and how near to"
        " stationary its generator is.",
    ),
    "doctor": Listed(
        "examining",
        "Look at devices, versions, data, weights and folders, and train for a few seconds.",
    ),
    "eval": Listed("judging", "Judge a run, a file of examples or a folder of images."),
    "features": Listed(
        "features",
        "Features for pictures that no network knows: train an encoder on them.",
    ),
    "list": Listed(
        "listing",
        "The named experiments, one line each, grouped by what one wants to do.",
    ),
    "report": Listed(
        "reporting",
        "One HTML page of a run, of several runs side by side, or of a sweep.",
    ),
    "run": Listed(
        "training",
        "Train an experiment: a name of `otgan list`, a TOML file, or a stored config.json.",
    ),
    "sample": Listed(
        "training",
        "Draw samples from a run's averaged generator, or push given examples through its map.",
    ),
    "scores": Listed(
        "judging",
        "Stored scores of runs, or of folders given to `eval --out`, side by side.",
    ),
    "show": Listed(
        "training",
        "An experiment's card and resolved config, and what its lam is called elsewhere.",
    ),
    "suggest": Listed(
        "suggesting",
        "Which experiment suits your data, and by which values; nothing is trained.",
    ),
    "sweep": Listed(
        "sweeping",
        "Train an experiment on a grid: every combination of the values given, with every seed.",
    ),
    "weights": Listed(
        "judging",
        "The weights of feature networks: what there is, and how to bring published ones"
        " where there is no connection.",
    ),
}


def load(names: Iterable[str]) -> None:
    """Import commands, which puts them into the group."""
    for module in dict.fromkeys(COMMANDS[name].module for name in names):
        import_module(f"{__package__}.{module}")


class Commands(click.Group):
    """A group whose commands are imported when they are typed.

    They end a `UserError`, and a full disk, as one sentence and exit code 2, and a signal as one
    sentence and the exit code that shells give it.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; where there is none of that name all, of which the nearest are told."""
        load(COMMANDS.keys() & {cmd_name} or COMMANDS)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them by their sentences."""
        shown = [click.Command(name, help=listed.sentence) for name, listed in COMMANDS.items()]
        click.Group(commands=shown).format_commands(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words of the command line, which are said again where it is to go on."""
        if ctx.parent is None:
            ctx.meta[SAID] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with _damage_told():
                keep_programs()
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

"""The commands: each parses, calls one function, prints. JAX is imported only by those that compute."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from otgan import __version__, experiments
from otgan.config import Amount, parse_amount
from otgan.console import Ticker, describe, grouped_table, plain_table, summary_table
from otgan.errors import UserError
from otgan.runs import RunFolder

RECIPE = "the experiment's"


class Commands(click.Group):
    """A group whose commands end a `UserError` as one sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)


class AmountType(click.ParamType):
    """`1.0`, in units of the cost, or `0.03x`, in multiples of the batch's mean cost."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Amount:
        """Parse."""
        try:
            return parse_amount(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _out() -> Console:
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120})
@click.version_option(__version__)
def main() -> None:
    """Train generative networks by explicit optimal transport, with a certified accuracy at every step.

    Begin with `otgan list`, then `otgan run sinkhorn-grid`.
    """


# --- experiments ----------------------------------------------------------------------------------------------------------------------


@main.command("list")
def list_() -> None:
    """The named experiments, one line each, grouped by data."""
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name in experiments.names():
        config = experiments.resolve(name)
        groups.setdefault(config.data.kind, []).append((name, config.card.title, config.card.cost))
    _out().print(grouped_table(groups))


@main.command()
@click.argument("name_or_file")
def show(name_or_file: str) -> None:
    """An experiment's card and resolved config, and what its lam is called elsewhere."""
    click.echo(describe(experiments.resolve(name_or_file)))


def _run_options(command: Callable) -> Callable:
    options = [
        click.option("--lam", type=AmountType(), metavar="F|Fx", show_default=RECIPE, help="Weight of the regularizer: 1.0 in units of the cost, 0.03x in multiples of the batch's mean cost."),
        click.option("--epsilon", type=AmountType(), metavar="F|Fx", show_default=RECIPE, help="Certified accuracy of every step's dual, in the same two units."),
        click.option("--tau", type=AmountType(), metavar="F|Fx|inf", show_default=RECIPE, help="Weight of the generated side's marginal; inf keeps it exactly, as in the paper."),
        click.option("--regularizer", type=click.Choice(["kl", "l2"]), show_default=RECIPE, help="Entropy or squared density."),
        click.option("--cost", type=click.Choice(["l1", "squared_l2", "cosine"]), show_default=RECIPE, help="Cost between two points, on pixels or on the encoder's features."),
        click.option("--steps", type=click.IntRange(1), metavar="N", show_default=RECIPE, help="Alternations of a dual's solve and an update."),
        click.option("--seconds", type=click.FloatRange(0, min_open=True), metavar="S", show_default="no limit", help="End after so many seconds of training, compilation left out."),
        click.option("--batch-size", type=click.IntRange(2), metavar="N", show_default=RECIPE, help="Examples on each side of a step's transport problem."),
        click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", show_default=RECIPE, help="Seed of the whole run."),
        click.option("--data", "source", metavar="tfds|sample|FILE|FOLDER", show_default=RECIPE, help="Where the examples come from: a prepared TFDS folder, the 5,000 digits in the package, your own .npz, or a folder of pictures."),
        click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", show_default="TFDS_DATA_DIR, else ~/tensorflow_datasets", help="Folder of prepared TFDS data sets."),
        click.option("--out", type=click.Path(path_type=Path), metavar="DIR", show_default="a new numbered folder in runs/", help="Run folder; one that holds this run already is resumed."),
        click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", show_default="none", help="Change any key of the config, such as generator.width=512; may be repeated."),
        click.option("--devices", type=click.IntRange(1), metavar="N", show_default="all", help="Devices to spread every batch over."),
        click.option("--dry-run", is_flag=True, help="Print the resolved config and stop."),
        click.option("--quiet", is_flag=True, help="Print the summary alone."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.argument("name_or_file", metavar="NAME_OR_FILE")
@_run_options
def run(name_or_file: str, source: str | None, data_dir: Path | None, out: Path | None, assignments: tuple[str, ...], devices: int | None, dry_run: bool, quiet: bool, **flags: Any) -> None:  # fmt: skip
    """Train an experiment: a name of `otgan list`, a TOML file, or a stored config.json.

    A run folder in its place is resumed.
    """
    target = Path(name_or_file)
    if RunFolder(target).exists:
        name_or_file, out = str(RunFolder(target).config_path), out or target
    overrides = _overrides(flags, assignments)
    config = experiments.resolve(name_or_file, overrides, source)
    if dry_run:
        click.echo(config.json(), nl=False)
        return
    from otgan.launch import launch

    marks = [f"{key.rpartition('.')[2]}{value}" for key, value in overrides.items()]
    console = _out()
    with Ticker(config, console, quiet) as ticker:
        outcome = launch(config, out, marks, data_dir, devices, ticker)
    console.print(summary_table(config.name, outcome.summary))
    console.print(f"samples   {outcome.picture}\nrun       {outcome.folder}", soft_wrap=True)
    if outcome.reason:
        click.echo(f"{outcome.state}: {outcome.reason}", err=True)
    sys.exit(outcome.exit_code)


def _overrides(flags: dict[str, Any], assignments: tuple[str, ...]) -> dict[str, Any]:
    keys = {
        "lam": "oracle.lam", "epsilon": "oracle.epsilon", "tau": "oracle.tau", "regularizer": "oracle.regularizer", "cost": "cost.name",
        "steps": "train.steps", "seconds": "train.seconds", "batch_size": "batch.size", "seed": "train.seed",
    }  # fmt: skip
    return {**{keys[name]: value for name, value in flags.items() if value is not None}, **dict(map(experiments.parse_set, assignments))}


@main.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("-n", "--number", type=click.IntRange(1), default=64, metavar="N", help="How many samples.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("samples.png"),
    metavar="FILE",
    help="A .png (sheet or scatter) or an .npz.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, metavar="N", help="Seed of the latents.")
def sample(run_folder: Path, number: int, output: Path, seed: int) -> None:
    """Draw samples from a run's averaged generator."""
    from otgan import sampling

    sampling.write(sampling.sample(RunFolder(run_folder), number, seed), output)
    click.echo(f"{number:,} samples in {output}")


# --- data -----------------------------------------------------------------------------------------------------------------------------


@main.group()
def data() -> None:
    """Which data sets there are, where they are looked for, and how to prepare them."""


_data_dir = click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", show_default="TFDS_DATA_DIR, else ~/tensorflow_datasets", help="Folder of prepared TFDS data sets.")  # fmt: skip


@data.command("list")
@_data_dir
def data_list(data_dir: Path | None) -> None:
    """What is known, where it is looked for, and whether it is there."""
    from otgan.data.catalog import listing

    rows = [(e.name, "yes" if e.present else "no", e.examples, e.shape, e.what, e.place) for e in listing(data_dir)]
    _out().print(plain_table(("name", "there", "examples", "shape", "what it is", "where"), rows))


@data.command()
@click.argument("name", type=click.Choice(["mnist", "cifar10"]))
@click.option("--from", "archive", type=click.Path(path_type=Path), metavar="ARCHIVE", show_default="download", help="The archive, or the folder of archives, that you already have.")  # fmt: skip
@_data_dir
def prepare(name: str, archive: Path | None, data_dir: Path | None) -> None:
    """Prepare a data set by TFDS's own builder. Needs the extra `tfds`."""
    from otgan.data.prepare import prepare as prepare_

    click.echo(f"{name} is in {prepare_(name, data_dir, archive)}")


@data.command()
@click.argument("name", type=click.Choice(["mnist", "cifar10"]))
@_data_dir
def verify(name: str, data_dir: Path | None) -> None:
    """Read a prepared data set whole and compare it with what it should be."""
    from otgan.data.catalog import verify as verify_

    found = verify_(name, data_dir)
    for fact in found.facts:
        click.echo(fact)
    for problem in found.problems:
        click.echo(f"problem: {problem}", err=True)
    sys.exit(1 if found.problems else 0)

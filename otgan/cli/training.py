"""Commands that train and sample experiments."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from otgan import experiments, places, suggest
from otgan.cli.group import main, said
from otgan.cli.processes import PROCESSES, follow, in_company
from otgan.cli.shared import (
    ACCURACY,
    AMOUNT,
    NAME_OR_FILE,
    PATH,
    SIZE,
    CommaSeparated,
    Whole,
    terminal,
    with_data_dir,
)
from otgan.config import Config, Cost, Loggers, UserData
from otgan.console import ProgressBar, describe, push_errors, summary_table
from otgan.hosts import Hosts
from otgan.named import find
from otgan.runs import RunFolder


@main.command()
@click.argument("name_or_file", type=NAME_OR_FILE)
def show(name_or_file: str) -> None:
    """An experiment's card and resolved config, and what its lam is called elsewhere."""
    click.echo(describe(experiments.resolve(name_or_file)))


SEED = Whole(0, 2**31 - 1)
FEATURES = "|".join((*Cost.FEATURES, "NET:LAYERS", "RUN"))

# those of `FLAGS` that say how the user's data are read
READING = ("--columns", "--label", "--resize", "--crop", "--channels")

# of `run`, which stand for keys of the config: the key, and the flag's type, metavar and sentence
FLAGS = {
    "--lam": (
        "oracle.lam",
        AMOUNT,
        "F|Fx|Fs",
        "Weight of the regularizer: 1.0 in units of the cost, 0.03x times the batch's mean cost, 2s"
        " times the cost between neighbors in a batch.",
    ),
    "--epsilon": (
        "oracle.epsilon",
        ACCURACY,
        "F|Fx|Fs|adaptive|calibrated",
        "Certified accuracy of every step's dual, in the same units; or set in every step by the"
        " noise of the gradient: see docs/adaptive.md.",
    ),
    "--tau": (
        "oracle.tau",
        AMOUNT,
        "F|Fx|Fs|inf",
        "Weight of the generated side's marginal; inf keeps it exactly, as in the paper.",
    ),
    "--regularizer": (
        "oracle.regularizer",
        click.Choice(["kl", "l2"]),
        None,
        "Entropy (kl) or squared density (l2) of the plan.",
    ),
    "--on-budget": (
        "oracle.on_budget",
        click.Choice(["accept", "stop"]),
        None,
        "What a step does that runs out of iterations.",
    ),
    "--loss": (
        "oracle.loss",
        click.Choice(["regot", "sinkhorn", "energy"]),
        None,
        "What regularized transport is made into.",
    ),
    "--cost": (
        "cost.name",
        click.Choice(["l1", "l2", "squared_l2", "cosine"]),
        None,
        "Between two points, on pixels or features.",
    ),
    "--features": (
        "cost.features",
        str,
        FEATURES,
        (
            "On what the cost is measured: RUN is a folder, for its encoder; NET:LAYERS are layers"
            " of a frozen network, as in mnist-lenet:all."
        ),
    ),
    "--groups": (
        "cost.groups",
        click.Choice(["joint", "separate"]),
        None,
        "One transport problem on all layers, or one for each.",
    ),
    "--self-term": (
        "oracle.self_term",
        click.Choice(["same", "independent"]),
        None,
        "What the Sinkhorn loss compares generated examples with: themselves, or a second batch.",
    ),
    "--parts": (
        "oracle.parts",
        Whole(1),
        "N",
        "Cut every batch into N parts, each a transport problem of its own: another loss, and with"
        " as many parts as devices none waits for another.",
    ),
    "--memory": (
        "oracle.max_memory",
        SIZE,
        "SIZE",
        "Bytes that a step's transport may hold at once, such as 500MB, 4GB or 2GiB: beyond that"
        " costs are made in blocks, again and again, to the same accuracy.",
    ),
    "--steps": ("train.steps", Whole(1), "N", "Alternations of a solve of the dual and an update."),
    "--generator-steps": (
        "train.generator_steps",
        Whole(1),
        "N",
        "End after so many updates of the generator.",
    ),
    "--seconds": (
        "train.seconds",
        click.FloatRange(0, min_open=True),
        "S",
        "End after so much training in all, compilation left out.",
    ),
    "--eval-every": (
        "train.eval_every",
        Whole(1),
        "N",
        "Judge the generator every N steps and at the end, as `otgan eval` does.",
    ),
    "--batch-size": (
        "batch.size",
        Whole(2),
        "N",
        "Generated examples in a step's transport problem.",
    ),
    "--reals": (
        "batch.reals",
        Whole(2),
        "N",
        "Real examples in it; as many as generated ones, unless the experiment says otherwise.",
    ),
    "--seed": ("train.seed", SEED, "N", "Seed of everything random in the run."),
    "--columns": (
        "data.columns",
        CommaSeparated(str),
        "A,B,...",
        "Columns of your table to take as points, all of numbers; a name with a comma in quotes:"
        """ '"a,b",c'.""",
    ),
    "--label": (
        "data.label",
        str,
        "NAME",
        "Column of your table, or array of your .npz, with the kind of every example.",
    ),
    "--resize": (
        "data.resize",
        Whole(8, 512),
        "N",
        "Scale your pictures so that the shorter side has N pixels.",
    ),
    "--crop": (
        "data.crop",
        click.Choice(["none", "center"]),
        None,
        "What to keep of your pictures: all, or the square in the middle.",
    ),
    "--channels": (
        "data.channels",
        click.Choice(["auto", "gray", "rgb"]),
        None,
        "One channel, or three; auto is one where all of your pictures are gray.",
    ),
}


def flags(*chosen: str, default: str = "the experiment's") -> Callable[[Callable], Callable]:
    """The options of so many of `FLAGS`; help says what holds by default."""

    def decorate(command: Callable) -> Callable:
        for flag in reversed(chosen):
            _, kind, metavar, sentence = FLAGS[flag]
            command = click.option(
                flag, type=kind, metavar=metavar, show_default=default, help=sentence
            )(command)
        return command

    return decorate


def with_loggers(command: Callable) -> Callable:
    """The option that says where numbers go besides the run's folder."""
    return click.option(
        "--logger",
        "loggers",
        type=click.Choice(get_args(Loggers)),
        multiple=True,
        show_default="TensorBoard alone",
        help="Send numbers and samples there as well; may be repeated. An extra of otgan each.",
    )(command)


def _running(command: Callable) -> Callable:
    """The options of every command that trains."""
    new = "a new numbered folder in runs/"
    change = "Change any key of the config, such as generator.width=512; may be repeated."
    for option in reversed(
        [
            with_data_dir,
            click.option(
                "--out",
                type=PATH,
                metavar="DIR",
                show_default=new,
                help="Folder; its own run is resumed.",
            ),
            click.option(
                "--set",
                "assignments",
                multiple=True,
                metavar="KEY=VALUE",
                show_default="nothing",
                help=change,
            ),
            click.option(
                "--devices",
                type=click.IntRange(1),
                metavar="N",
                show_default="all",
                help="Devices to spread every batch over.",
            ),
            with_loggers,
            *PROCESSES,
            click.option(
                "--dry-run",
                is_flag=True,
                help="Print the resolved config and stop; data of your own are read.",
            ),
            click.option("--quiet", is_flag=True, help="Print the summary alone."),
        ]
    ):
        command = option(command)
    return command


@main.command()
@click.argument("name_or_file", metavar="NAME_OR_FILE", type=NAME_OR_FILE)
@flags(*FLAGS)
@click.option(
    "--data",
    "source",
    metavar="tfds|sample|FILE|FOLDER",
    show_default="the experiment's",
    help=(
        "Where the examples come from: prepared by TFDS, the 5,000 digits in the package, your"
        " .npz, .npy, .csv, .tsv or .parquet, your folder of pictures, or one of Hugging Face's"
        " Dataset.save_to_disk."
    ),
)
@_running
def run(
    name_or_file: str,
    source: str | None,
    out: Path | None,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Train an experiment: a name of `otgan list`, a TOML file, or a stored config.json.

    A run folder in its place is resumed.
    """
    if not find(name_or_file) and RunFolder(Path(name_or_file)).exists:
        out = out or Path(name_or_file)
        name_or_file = str(RunFolder(Path(name_or_file)).config_path)
    overrides = _overrides(options, assignments)
    config = suggest.resolve(name_or_file, overrides, source, options["data_dir"])
    _train(config, overrides, out, options)


@main.command()
@click.argument("run_folder", metavar="RUN", type=PATH)
@flags("--epsilon", "--steps", "--seconds", "--eval-every", "--batch-size", "--seed")
@_running
def compose(
    run_folder: Path, out: Path | None, assignments: tuple[str, ...], **options: Any
) -> None:
    """Fit a map T from a run's generator G to its data; samples of the new run are T(G(z)).

    Taghvaei and Jalali (2019), section 4.3. G is copied and does not move; RUN stays as it is.
    """
    overrides = _overrides(options, assignments)
    RunFolder(run_folder).read_config()
    _train(
        experiments.compose(RunFolder(run_folder).config_path, overrides), overrides, out, options
    )


def _train(
    config: Config, overrides: dict[str, Any], out: Path | None, options: dict[str, Any]
) -> None:
    if options["dry_run"]:
        _require_own_data(config, out, options)
        click.echo(config.json(), nl=False)
        return
    with in_company(config, options) as hosts:
        places.require_all(config, options["data_dir"])
        sys.exit(
            _lead(config, overrides, out, options, hosts)
            if hosts.leads
            else follow(config, options, hosts)
        )


def _lead(
    config: Config,
    overrides: dict[str, Any],
    out: Path | None,
    options: dict[str, Any],
    hosts: Hosts,
) -> int:
    """Train, alone or with others, and say how it ended. Returns the exit code."""
    from otgan.launch import launch

    if not options["quiet"]:
        for reason in config.card.why:
            click.echo(f"why {reason}")
    with ProgressBar(config, terminal(), options["quiet"]) as bar:
        ended = launch(
            config, out, overrides, options["data_dir"], options["devices"], bar, said(), hosts
        )
    terminal().print(summary_table(config.name, ended.summary, ended.known))
    if ended.picture:
        click.echo(f"samples   {ended.picture}")
    click.echo(f"run       {ended.folder}")
    if ended.reason:
        state = "" if ended.reason.startswith(ended.state) else f"{ended.state}: "
        click.echo(f"{state}{ended.reason}", err=True)
    return ended.exit_code


def _require_own_data(config: Config, out: Path | None, options: dict[str, Any]) -> None:
    """Refuse the user's data as a run would: by reading them. Others' are known to be sound, and
    are not waited for.
    """
    own = any(isinstance(data, UserData) for data in (config.data, config.source))
    if not own and config.truth is None:
        return
    from otgan.assembly import assemble
    from otgan.restore import has_checkpoint

    begun = out is not None and has_checkpoint(RunFolder(out))
    assemble(config, None, begun, options["data_dir"], options["devices"], looks=False)


def chosen_loggers(options: dict[str, Any]) -> dict[str, Any]:
    """The loggers of the command line, each once, by the key of the config."""
    return {"train.loggers": [*dict.fromkeys(options["loggers"])]} if options["loggers"] else {}


def given_flags(options: dict[str, Any]) -> dict[str, Any]:
    """Those of `FLAGS` that the command line has: their values by key of the config."""
    given = {key: options.get(flag[2:].replace("-", "_")) for flag, (key, *_) in FLAGS.items()}
    return {key: value for key, value in given.items() if value is not None}


def _overrides(options: dict[str, Any], assignments: tuple[str, ...]) -> dict[str, Any]:
    return {
        **given_flags(options),
        **chosen_loggers(options),
        **dict(map(experiments.parse_set, assignments)),
    }


@main.command()
@click.argument("run_folder", metavar="RUN", type=PATH)
@click.option(
    "-n", "--number", type=click.IntRange(1), default=64, metavar="N", help="How many samples."
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("samples.png"),
    metavar="FILE",
    help="A .png or an .npz; of points also a .csv, with the names of their columns.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, metavar="N", help="Seed of the latents."
)
@click.option(
    "--push",
    type=PATH,
    metavar="FILE",
    show_default="draw",
    help=(
        "Send all examples of this file through the map that the run has learned, instead of"
        " drawing N by the seed."
    ),
)
def sample(run_folder: Path, number: int, output: Path, seed: int, push: Path | None) -> None:
    """Draw samples from a run's averaged generator, or push given examples through its map."""
    import numpy as np

    from otgan import sampling
    from otgan.data import read_user_data
    from otgan.restore import read_columns

    folder = RunFolder(run_folder)
    sampling.check(output, number, folder)
    if push:
        given = read_user_data(UserData(path=str(push)))
        samples, errors = sampling.transport(folder, np.asarray(given.values), push)
    else:
        samples, errors = sampling.sample(folder, number, seed), None
    sampling.write(samples, output, read_columns(folder))
    click.echo(f"{len(samples):,} samples in {output}")
    if errors is not None:
        click.echo(push_errors(errors))

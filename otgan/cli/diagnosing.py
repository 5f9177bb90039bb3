"""`otgan diagnose`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from otgan.cli.group import main
from otgan.cli.shared import PATH, CommaSeparated, terminal, with_data_dir
from otgan.config import Amount, parse_amount
from otgan.console import Spinner, print_diagnosis
from otgan.errors import UserError
from otgan.runs import RunFolder


def finite(word: str) -> Amount:
    """An amount; raises ValueError where it is none, or infinite."""
    amount = parse_amount(word)
    if not amount.finite:
        raise ValueError("must be finite")
    return amount


def whole(word: str) -> int:
    """A batch's size; raises ValueError where it is none."""
    if not word.isdecimal() or int(word) < 2:
        raise ValueError("needs whole numbers of at least 2, such as 64,256")
    return int(word)


AMOUNTS = CommaSeparated(finite)


@main.command()
@click.argument("run_folder", metavar="RUN", type=PATH)
@click.option(
    "--epsilons",
    type=AMOUNTS,
    metavar="F|Fx,...",
    default="1x,0.3x,0.1x,0.03x,0.01x,0.003x,0.001x",
    help="Accuracies, as for `otgan run`.",
)
@click.option(
    "--lams",
    type=AMOUNTS,
    metavar="F|Fx,...",
    default="1x,0.1x,0.01x",
    help="Weights of the regularizer, as for `otgan run`.",
)
@click.option(
    "--batch-sizes",
    type=CommaSeparated(whole),
    metavar="N,...",
    default="64,128,256,512,1024",
    help="Of batches to transport exactly.",
)
@click.option(
    "--batches",
    type=click.IntRange(4),
    metavar="K",
    default=32,
    help="Batches for means and gradients.",
)
@click.option(
    "--checkpoint",
    type=click.IntRange(0),
    metavar="N",
    show_default="the newest",
    help="The step of the run to look at.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@with_data_dir
def diagnose(
    run_folder: Path,
    epsilons: tuple[Amount, ...],
    lams: tuple[Amount, ...],
    batch_sizes: tuple[int, ...],
    batches: int,
    checkpoint: int | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """How exact a run's dual must be, what its batches do not see, and how near to stationary its
    generator is.

    The gradient's error against a dual solved to high precision, beside the bound L0 sqrt(2 epsilon
    / lam); exact transport between batches of several sizes, beside that to the whole training set;
    the squared norm of the expected gradient. Gradients are those of the generator as it is
    trained; batches are drawn from its moving average, as samples are.
    """
    from otgan.diagnosis import command

    folder = RunFolder(run_folder)
    if not folder.exists:
        raise UserError(f"{run_folder} is no run folder: it has no readable config.json")
    command.require_writable(folder)
    with Spinner(terminal(), quiet=as_json) as show:
        found = command.diagnose(
            folder, epsilons, lams, batch_sizes, batches, checkpoint, data_dir, show
        )
    places = command.keep(found, folder)
    if as_json:
        click.echo(json.dumps(found))
        return
    print_diagnosis(terminal(), found)
    for place in places:
        click.echo(f"in {place}")

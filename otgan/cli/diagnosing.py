"""`otgan diagnose`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from otgan.cli.group import PATH, main, terminal, with_data_dir
from otgan.console import Steps, print_diagnosis
from otgan.errors import UserError
from otgan.runs import RunFolder


class Numbers(click.ParamType):
    """Numbers separated by commas, larger than zero, each once."""

    name = "numbers"

    def __init__(self, kind: type):
        self._kind = kind

    def convert(self, value: str | tuple, param: click.Parameter | None, ctx: click.Context | None) -> tuple:
        """Parse; multiples of the mean cost may end in x."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self._kind(word.strip().removesuffix("x")) for word in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 0.1,0.01", param, ctx)
        if not all(0 < number < float("inf") for number in numbers):
            self.fail(f"{value!r}: all must be larger than zero and finite", param, ctx)
        return tuple(dict.fromkeys(numbers))


@main.command()
@click.argument("run_folder", metavar="RUN", type=PATH)
@click.option(
    "--epsilons", type=Numbers(float), default="1,0.3,0.1,0.03,0.01,0.003,0.001", help="Accuracies, in multiples of the mean cost."
)
@click.option("--lams", type=Numbers(float), default="1,0.1,0.01", help="Weights of the regularizer, times the mean cost.")
@click.option("--batch-sizes", type=Numbers(int), default="64,128,256,512,1024", help="Sizes of batches to transport exactly.")
@click.option("--batches", type=click.IntRange(4), metavar="K", default=32, help="Batches for means and gradients.")
@click.option("--checkpoint", type=click.IntRange(0), metavar="N", show_default="the newest", help="The step of the run to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@with_data_dir
def diagnose(
    run_folder: Path,
    epsilons: tuple[float, ...],
    lams: tuple[float, ...],
    batch_sizes: tuple[int, ...],
    batches: int,
    checkpoint: int | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """How exact a run's dual must be, what its batches do not see, and how near to stationary its generator is.

    The gradient's error against a dual solved to high precision, beside the bound L0 sqrt(2 epsilon / lam); exact transport between batches
    of several sizes, beside that to the whole training set; the squared norm of the expected gradient.
    """
    from otgan.diagnosis import command

    folder = RunFolder(run_folder)
    if not folder.exists:
        raise UserError(f"{run_folder} is no run folder: it has no readable config.json")
    with Steps(terminal(), quiet=as_json) as show:
        found = command.diagnose(folder, epsilons, lams, batch_sizes, batches, checkpoint, data_dir, show)
    places = command.keep(found, folder)
    if as_json:
        click.echo(json.dumps(found))
        return
    print_diagnosis(terminal(), found)
    for place in places:
        click.echo(f"in {place}")

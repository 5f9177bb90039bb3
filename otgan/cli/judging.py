"""Commands that judge: scores of a run or of somebody's images, scores side by side, the weights of
feature networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from otgan.cli.group import main
from otgan.cli.shared import PATH, MeasureName, terminal, with_data_dir
from otgan.config import Cost
from otgan.console import Spinner, compared_marks, compared_table, print_scores
from otgan.errors import UserError

SENTENCES = {  # of `eval`'s flags
    "fid": "Frechet distance, and its value extrapolated to infinitely many samples.",
    "kid": "Kernel distance: unbiased squared MMD with a cubic kernel.",
    "is": "Inception score, on the classes of the feature network.",
    "pr": "Improved precision and recall; density and coverage.",
    "wasserstein": "Exact W1 and W2, sliced W2, Sinkhorn divergence, W2 to the whole training set.",
    "modes": "Modes hit and their masses: on the grid, on digits, or by labels of your own data.",
    "nearest": "Nearest training examples as a picture, and the share of memorized samples.",
}


def _measures(command: Callable) -> Callable:
    for flag in reversed(SENTENCES):
        command = click.option(f"--{flag}", f"flag_{flag}", is_flag=True, help=SENTENCES[flag])(
            command
        )
    return command


@main.command("eval")
@click.argument("path", metavar="[RUN]", required=False, type=PATH)
@_measures
@click.option(
    "--measure",
    "measures",
    multiple=True,
    type=MeasureName(),
    metavar="NAME",
    help="A measure of another package.",
)
@click.option("--all", "everything", is_flag=True, help="All of these that suit the data.")
@click.option(
    "--features",
    metavar="NAME|FILE",
    show_default=(
        "a network trained on these data that the run was not trained on, else random; points are"
        " their own"
    ),
    help=(
        f"{', '.join((*Cost.PUBLISHED, *Cost.TRAINED))}, random, pixels, points, or a .safetensors"
        " file."
    ),
)
@click.option(
    "--fd",
    metavar="NAME|FILE",
    help="The Frechet distance on these features: --fid --features NAME.",
)
@click.option(
    "--samples",
    type=click.IntRange(2, 1_000_000),
    metavar="N",
    show_default="10,000 images, 20,000 points",
    help="Generated examples, for each seed.",
)
@click.option(
    "--split",
    type=click.Choice(["test", "train"]),
    default="test",
    help="The real examples to compare with.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    metavar="K",
    default=1,
    help="Sets of samples, whose spread is shown.",
)
@click.option(
    "--checkpoint",
    metavar="N|all",
    show_default="the newest",
    help="The step, or all steps, of a run to judge.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    metavar="N",
    default=200,
    help="Examples at once through the network.",
)
@click.option(
    "--reference",
    metavar="mnist|cifar10|NAME|FILE|RUN",
    show_default="the run's own data",
    help="The real data; of a file a tenth is test, of another run they are its own.",
)
@click.option(
    "--resize",
    type=click.Choice(["tf1", "half_pixel"]),
    default="tf1",
    help="Of inception's images, as TensorFlow 1 or PyTorch.",
)
@click.option(
    "--quantize/--no-quantize",
    default=True,
    help="Round generated images to bytes, as a file would.",
)
@click.option(
    "--allow-few",
    is_flag=True,
    help="Compute with fewer examples than a measure needs, and mark it.",
)
@click.option(
    "--out",
    type=PATH,
    metavar="DIR",
    show_default="RUN/eval; none for files",
    help="Folder of scores.jsonl and pictures.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the scores as JSON lines, with their protocols."
)
@with_data_dir
def eval_(
    path: Path | None,
    as_json: bool,
    fd: str | None,
    checkpoint: str | None,
    reference: str | None,
    out: Path | None,
    data_dir: Path | None,
    **options: Any,
) -> None:
    """Judge a run, a file of examples or a folder of images.

    RUN is the run at work last, by default. Without a measure: --fid for images, --wasserstein and
    --modes for points. Every score carries its protocol, and beside it stands its floor: the same
    of as many real examples.
    """
    from otgan.evaluation.command import evaluate
    from otgan.evaluation.plan import EvalPlan

    flags: Any = tuple(flag for flag in SENTENCES if options.pop(f"flag_{flag}"))
    flags += tuple(name for name in dict.fromkeys(options.pop("measures")) if name not in flags)
    if fd and options["features"] not in (None, fd):
        raise UserError(
            f"--fd {fd} and --features {options['features']} name different features: judge by one"
            " after the other"
        )
    if fd:
        flags, options["features"] = ("fid", *(flag for flag in flags if flag != "fid")), fd
    plan = EvalPlan(
        flags=() if options["everything"] else flags, rounded=options.pop("quantize"), **options
    )
    where: Any = {
        "checkpoint": checkpoint,
        "reference": reference,
        "out": out,
        "data_dir": data_dir,
    }
    console = terminal()
    with Spinner(console, quiet=as_json) as steps:
        for report in evaluate(plan, path, steps, **where):
            if as_json:
                _print_json(report)
            else:
                _print(console, report)


def _print_json(report: Any) -> None:
    for record in report.records:
        click.echo(json.dumps(record))


def _print(console: Console, report: Any) -> None:
    print_scores(console, report.records)
    for line in (*report.notes, *(f"in {place}" for place in report.places)):
        console.print(line, markup=False, soft_wrap=True)


@main.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the scores with their protocols as JSON, by metric and by run.",
)
def scores(runs: tuple[Path, ...], as_json: bool) -> None:
    """Stored scores of runs, or of folders given to `eval --out`, side by side.

    Scores that were measured differently are refused, and the difference is named.
    """
    from otgan.results.scores import read_scores, side_by_side
    from otgan.runs import RunFolder

    found = {
        str(run): read_scores(RunFolder(run).scores) or read_scores(run / "scores.jsonl")
        for run in runs
    }
    if lacking := [run for run, lines in found.items() if not lines]:
        raise UserError(
            f"{' and '.join(lacking)} keeps no scores: judge it with `otgan eval {lacking[0]}`"
        )
    table = side_by_side(found.items())
    if as_json:
        click.echo(json.dumps(table))
    else:
        console = terminal()
        console.print(compared_table(table, [str(run) for run in runs]))
        for line in compared_marks(table):
            console.print(line, markup=False, soft_wrap=True)


@main.group()
def weights() -> None:
    """The weights of feature networks: what there is, and how to bring published ones where there
    is no connection.
    """


@weights.command("list")
def weights_list() -> None:
    """The feature networks, where their weights are, and their hashes."""
    from otgan.console import plain_table
    from otgan.weights.catalog import listing

    terminal().print(plain_table(("name", "there", "hash", "test accuracy", "where"), listing()))


@weights.command("import")
@click.argument("file", metavar="FILE", type=PATH)
@click.option(
    "--network",
    type=click.Choice(Cost.PUBLISHED),
    default="inception",
    help="Whose weights FILE holds.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    show_default="the cache",
    help="Where to write the .safetensors file.",
)
def weights_import(file: Path, network: str, output: Path | None) -> None:
    """Convert published weights: a .safetensors file or a state dict of PyTorch, nothing in which
    is run.

    Of the Inception it is pytorch-fid's pt_inception-2015-12-05-6726825d.pth alone. Of dinov2-* it
    is the official file (dinov2_vitb14_pretrain.pth) or timm's, of resnet50 any in torchvision's
    layout: supervised, MoCo v2, SwAV.
    """
    from otgan.weights.catalog import IMAGENET, import_network, scored_name

    place, found = import_network(file, network, output)
    click.echo(f"{network}, {found.digest[:12]}, in {place}")
    if network in IMAGENET and (name := scored_name(found)) != network:
        click.echo(
            f"These are not the weights published as {IMAGENET[network].file}: scores carry the"
            f" name {name}."
        )

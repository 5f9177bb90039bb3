"""Commands about data sets."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from otgan.cli.group import main
from otgan.cli.shared import PATH, terminal, with_data_dir
from otgan.console import plain_table


@main.group()
def data() -> None:
    """Which data sets there are, where they are looked for, and how to prepare them."""


@data.command("list")
@with_data_dir
def data_list(data_dir: Path | None) -> None:
    """What is known, where it is looked for, and whether it is there."""
    from otgan.data.catalog import listing

    rows = [
        (e.name, "yes" if e.present else "no", e.examples, e.shape, e.what, e.place)
        for e in listing(data_dir)
    ]
    terminal().print(
        plain_table(("name", "there", "examples", "shape", "what it is", "where"), rows)
    )


@data.command()
@click.argument("name", type=click.Choice(["mnist", "cifar10"]))
@click.option(
    "--from",
    "archive",
    type=PATH,
    metavar="ARCHIVE",
    show_default="download",
    help="The archive, or the folder of archives, that you already have.",
)
@with_data_dir
def prepare(name: str, archive: Path | None, data_dir: Path | None) -> None:
    """Prepare a data set by TFDS's own builder. Needs the extra `tfds`."""
    from otgan.data.prepare import prepare as prepare_

    click.echo(f"{name} is in {prepare_(name, data_dir, archive)}")


@data.command()
@click.argument("name", type=click.Choice(["mnist", "cifar10"]))
@with_data_dir
def verify(name: str, data_dir: Path | None) -> None:
    """Read a prepared data set whole and compare it with what it should be."""
    from otgan.data.catalog import verify as verify_

    found = verify_(name, data_dir)
    for fact in found.facts:
        click.echo(fact)
    for problem in found.problems:
        click.echo(f"problem: {problem}", err=True)
    sys.exit(1 if found.problems else 0)

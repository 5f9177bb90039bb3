"""The command that says what to type for data of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from otgan.cli.group import PATH, main


@main.command()
@click.argument("data", metavar="FILE_OR_FOLDER", type=PATH)
def suggest(data: Path) -> None:
    """Which experiment suits your data, and by which values; nothing is trained.

    The reasons are those that `otgan run` prints before it trains.
    """
    from otgan import suggest as rules
    from otgan.config import UserData

    name, facts, settings = rules.suggest(UserData(path=str(data)))
    what = f"pictures of {'x'.join(map(str, facts.shape))}" if facts.images else "points"
    numbers = f"{facts.dimension:,} number{'s' if facts.dimension > 1 else ''}"
    click.echo(f"{data}: {facts.size:,} {what}, {numbers} each")
    click.echo(
        f"squared distance of any two {facts.mean_cost:.4g}, of neighbors in a batch"
        f" {facts.local:.2g}, {facts.detail:.2g} times that"
    )
    for sentence in facts.odd:
        click.echo(sentence)
    click.echo(f"\n  otgan run {name} --data {shlex.quote(str(data))}\n")
    for setting in settings:
        click.echo(f"why {setting}")

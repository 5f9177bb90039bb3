"""The command that says what to type for data of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from otgan import experiments, places
from otgan.cli.group import main
from otgan.cli.shared import PATH
from otgan.cli.training import FLAGS, READING, flags, given_flags
from otgan.config import UserData
from otgan.plain import with_commas


@main.command()
@click.argument("data", metavar="FILE_OR_FOLDER", type=PATH)
@flags(*READING, default="as the data are")
def suggest(data: Path, **options: Any) -> None:
    """Which experiment suits your data, and by which values; nothing is trained.

    The reasons are those that `otgan run` prints before it trains.
    """
    given = given_flags(options)
    asked = experiments.resolve("points", given, str(data.absolute())).data
    assert isinstance(asked, UserData)
    places.require_own(asked)
    from otgan.suggest import fitting

    name, facts, settings = fitting.suggest(asked, given)
    what = f"pictures of {'x'.join(map(str, facts.shape))}" if facts.images else "points"
    numbers = f"{facts.dimension:,} number{'s' if facts.dimension > 1 else ''}"
    click.echo(f"{data}: {facts.size:,} {what}, {numbers} each")
    click.echo(
        f"squared distance of any two {facts.mean_cost:.4g}, of neighbors in a batch"
        f" {facts.local:.2g}, {facts.detail:.2g} times that"
    )
    for sentence in facts.odd:
        click.echo(sentence)
    click.echo(f"\n  {_command(name, data, given)}\n")
    for setting in settings:
        click.echo(f"why {setting}")


def _command(name: str, data: Path, given: dict[str, Any]) -> str:
    """What to type to train the recipe on data that are read in the same way."""
    words = ["otgan", "run", name, "--data", str(data)]
    for flag in READING:
        if (key := FLAGS[flag][0]) in given:
            value = given[key]
            words += [flag, with_commas(value) if isinstance(value, tuple) else str(value)]
    return shlex.join(words)

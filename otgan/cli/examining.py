"""The command that says whether this machine is fit to train."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from otgan.cli.group import main
from otgan.cli.shared import with_data_dir


@main.command()
@with_data_dir
def doctor(data_dir: Path | None) -> None:
    """Look at devices, versions, data, weights and folders, and train for a few seconds.

    The exit code is 0 if nothing is wrong, else 1. What is absent can be done without. A report of
    a fault should hold what this prints.
    """
    from otgan.doctor import Mark, examine

    wrong = 0
    for finding in examine(data_dir):
        wrong += finding.mark is Mark.WRONG
        click.echo(f"{finding.mark.value:6}  {finding.what:24}  {finding.seen}")
    faults = f"{wrong} thing{'s' if wrong != 1 else ''} wrong" if wrong else "nothing is wrong"
    click.echo(faults)
    sys.exit(1 if wrong else 0)

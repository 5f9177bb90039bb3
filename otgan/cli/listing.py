"""The command that lists what there is to train: otgan's own, the user's, and what other packages
add.
"""

from __future__ import annotations

from collections import defaultdict
from typing import get_args

import click

from otgan import experiments, named, plugins
from otgan.cli.group import main
from otgan.cli.shared import terminal
from otgan.config import Cost, Measures
from otgan.config.data import DATA_SETS
from otgan.config.families import FAMILIES
from otgan.console import grouped_tables
from otgan.errors import UserError
from otgan.plugins import Kind

OWN = {  # names that no package can take
    Kind.FAMILY: (*FAMILIES,),
    Kind.MEASURE: get_args(Measures),
    Kind.FEATURES: (*Cost.FEATURES, *Cost.PUBLISHED, "points"),
    Kind.DATA: (*DATA_SETS,),
}


AIMS = {  # what one wants to do who takes an experiment on such data, in the order of the list
    "own": "learn from data of your own",
    "grid": "see every family on one small problem, in a minute or two",
    "mixture": "find the map between two distributions",
    "gaussian": "find the map between two distributions",
    "mnist": "make digits",
    "stacked-mnist": "make digits of 1,000 kinds",
    "cifar10": "make pictures of CIFAR-10",
}


@main.command("list")
def list_() -> None:
    """The named experiments, one line each, grouped by what one wants to do.

    Below them, what is not otgan's own, and where it comes from.
    """
    groups = defaultdict(list, {aim: [] for aim in AIMS.values()})
    for name in named.names():
        _add(groups, name, name)
    origins, notes = (
        [],
        [
            *named.clashes(),
            *(note for kind, own in OWN.items() for note in plugins.clashes(kind, own)),
        ],
    )
    for experiment in (each for each in named.elsewhere() if each.name not in named.names()):
        origins.append((experiment.name, "experiment", f"from {experiment.origin}"))
        try:
            _add(groups, experiment.name, str(experiment.path))
        except UserError as error:
            notes.append(f"{experiment.path}: {error}")
    origins += [
        (n, kind.word, f"from {plugins.origin(kind, n)}")
        for kind, own in OWN.items()
        for n in plugins.names(kind)
        if n not in own
    ]
    groups["from elsewhere"] += origins
    terminal().print(grouped_tables({aim: rows for aim, rows in groups.items() if rows}))
    for note in notes:
        click.echo(note, err=True)


def _add(groups: defaultdict[str, list[tuple[str, ...]]], name: str, target: str) -> None:
    config = experiments.resolve(target)
    group = AIMS.get(config.data.kind, f"on {config.data.kind}")
    groups[group].append((name, config.card.title, config.card.cost))

"""Several processes that train one run, on the command line."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import click

from otgan.config import Config
from otgan.hosts import WAIT, EndedError, Hosts, find_place, joined
from otgan.plain import flat

PROCESSES = (
    click.option(
        "--coordinator",
        metavar="HOST:PORT",
        show_default="the cluster's, else none",
        help="Of several processes that train one run: where process 0 is.",
    ),
    click.option(
        "--num-processes",
        type=click.IntRange(1),
        metavar="N",
        show_default="the cluster's, else 1",
        help="How many there are.",
    ),
    click.option(
        "--process-id",
        type=click.IntRange(0),
        metavar="I",
        show_default="the cluster's, else 0",
        help="Which one this is, from 0.",
    ),
    click.option(
        "--wait",
        type=click.FloatRange(1),
        default=WAIT,
        metavar="S",
        help="Seconds that they wait for one another at the beginning.",
    ),
)
# keys of the config that each process may have otherwise: where its data are
OWN = ("data.path", "source.path", "truth")


def in_company(config: Config, options: dict[str, Any]) -> AbstractContextManager[Hosts]:
    """This process among the others of a run, once they are there and agree on its config.

    Raises:
        UserError: the options give it no place, the others do not come, or they do not agree.
    """
    place = find_place(
        options["coordinator"], options["num_processes"], options["process_id"], options["wait"]
    )
    values = flat(config.model_dump(mode="json", exclude={"card"}))
    return joined(place, {key: value for key, value in values.items() if key not in OWN})


def follow(config: Config, options: dict[str, Any], hosts: Hosts) -> int:
    """Take part in a run that another process leads. Returns the exit code.

    Raises:
        UserError: it cannot, or the leader is gone.
    """
    from otgan.launch import join_in

    try:
        join_in(config, options["data_dir"], options["devices"], hosts)
    except EndedError as ended:
        hosts.part(ended)
        if ended.reason:
            click.echo(ended.reason, err=True)
        return ended.code
    raise AssertionError("a run in company ends by its leader")

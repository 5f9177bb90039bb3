"""Runs that go further than they were asked to when they began. No JAX."""

from __future__ import annotations

from otgan import experiments
from otgan.budgets import USED_BY, longer, shorter
from otgan.config import Config
from otgan.files import number, table
from otgan.plain import flat
from otgan.results.state import RunState
from otgan.runs import RunFolder


def raised(folder: RunFolder, config: Config) -> list[str]:
    """The budgets that a config has more of than the run in a folder, in words.

    Raises:
        UserError: the folder's record cannot be read.
    """
    return longer(*_values(folder, config))


def overrun(folder: RunFolder, config: Config) -> list[str]:
    """The budgets that a config lowers below what the run in a folder has used, in words.

    Raises:
        UserError: the folder's record cannot be read.
    """
    status = folder.read_status()
    told = {**table(status.get("summary")), **status}
    used = {name: number(told.get(name)) or 0.0 for name in USED_BY.values()}
    return shorter(*_values(folder, config), used)


def extend(folder: RunFolder, config: Config) -> list[str]:
    """Let a folder's record be of the config that goes on there: what differs from the one that it
    was begun with is how far it goes, or what is shown of it.

    A run that had finished, and is to go further, has not finished any more.

    Returns:
        The budgets that were raised, in words.

    Raises:
        UserError: the folder's record cannot be read.
    """
    if experiments.resolve(str(folder.config_path)) == config:
        return []
    found, status = raised(folder, config), folder.read_status()
    # the status first: if this process dies in between, the run is asked to go further once more
    if found and status.get("state") == RunState.FINISHED:
        reason = f"it is to go further, and has not yet: {'; '.join(found)}"
        folder.write_status(
            RunState.INTERRUPTED,
            status["step"],
            status["seconds"],
            status["summary"],
            reason,
        )
    folder.record(config.json())
    return found


def _values(folder: RunFolder, config: Config) -> tuple[dict, dict]:
    there = experiments.resolve(str(folder.config_path))
    return flat(there.model_dump(mode="json")), flat(config.model_dump(mode="json"))

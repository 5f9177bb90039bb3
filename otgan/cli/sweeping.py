"""The command that trains an experiment on a grid of values."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from otgan import experiments, places
from otgan.budgets import longer, rising_again
from otgan.cli.group import main, said
from otgan.cli.shared import (
    NAME_OR_FILE,
    PATH,
    CommaSeparated,
    MeasureName,
    terminal,
    with_data_dir,
)
from otgan.cli.training import FLAGS, chosen_loggers, flags, with_loggers
from otgan.config import Adaptive, Amount, Measures
from otgan.console import plain_table
from otgan.errors import UserError
from otgan.plain import flat, from_toml
from otgan.results.aggregate import Means, aggregate, score_marks
from otgan.results.quantities import SHARE
from otgan.results.state import RunState
from otgan.results.sweep import SeedGroup, label, names
from otgan.runs import command_again
from otgan.signals import exit_code_of
from otgan.sweep.folder import Cell, SweepFolder, SweepRecord, extended
from otgan.sweep.plan import SweepPlan, make_plan
from otgan.sweep.progress import Board

if TYPE_CHECKING:
    from otgan.sweep.scheduler import Executor, Worklist

AXES = ("--lam", "--epsilon", "--tau", "--regularizer", "--loss")
SINGLE = tuple(flag for flag in FLAGS if flag not in (*AXES, "--seed"))
ROOT = Path("sweeps")


def _plain(value: Any) -> Any:
    return value.plain if isinstance(value, Amount | Adaptive) else value


MEASURES = CommaSeparated(MeasureName())
SEVERAL = {
    flag: CommaSeparated(kind if isinstance(kind := FLAGS[flag][1], click.ParamType) else str)
    for flag in AXES
}


def _axes(command: Callable) -> Callable:
    for flag in reversed(AXES):
        _, kind, metavar, sentence = FLAGS[flag]
        values = metavar or "|".join(kind.choices)
        command = click.option(
            flag,
            type=SEVERAL[flag],
            metavar=f"{values},...",
            show_default="the experiment's",
            help=sentence,
        )(command)
    return command


SET = (
    "Change any key of the config; with several values, such as batch.size=256,512, an axis. May be"
    " repeated."
)
EVAL = f"Judge every cell at its end, as `otgan eval` does: {', '.join(get_args(Measures))}."
OUT = "Folder of the sweep; its finished cells are kept."
JOBS = "Cells at once. On Ray, the cores of the cluster are shared by so many."
SOURCE = "Where the examples come from, as for `otgan run`."


@main.command()
@click.argument("name_or_file", metavar="NAME_OR_FILE", type=NAME_OR_FILE)
@_axes
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE,...", show_default="nothing", help=SET
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    metavar="K",
    show_default="1",
    help="Train every combination with the seeds 0 to K - 1.",
)
@click.option(
    "--eval",
    "measures",
    type=MEASURES,
    metavar="fid,...",
    show_default="the runs' own summaries",
    help=EVAL,
)
@flags(*SINGLE)
@click.option(
    "--data",
    "source",
    metavar="tfds|sample|FILE|FOLDER",
    show_default="the experiment's",
    help=SOURCE,
)
@with_data_dir
@with_loggers
@click.option("--out", type=PATH, metavar="DIR", show_default="sweeps/NAME", help=OUT)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    show_default="one a core, 8 at most, 1 with a GPU; Ray: one a core",
    help=JOBS,
)
@click.option(
    "--max-failures",
    type=click.IntRange(1),
    metavar="N",
    show_default="go on",
    help="Begin no cell after so many have failed.",
)
@click.option(
    "--cell-timeout",
    type=click.IntRange(1),
    metavar="SECONDS",
    show_default="none",
    help="Stop a cell that takes longer, its state saved, and go on with the others.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    help="Processes on this machine, or tasks of Ray.",
)
@click.option(
    "--address",
    metavar="HOST:PORT|auto",
    show_default="a Ray of its own",
    help="The running Ray cluster to use.",
)
@click.option("--dry-run", is_flag=True, help="List the cells and how far each is, and stop.")
def sweep(
    name_or_file: str,
    assignments: tuple[str, ...],
    seeds: int | None,
    measures: tuple[str, ...] | None,
    source: str | None,
    out: Path | None,
    data_dir: Path | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Train an experiment on a grid: every combination of the values given, with every seed.

    A cell is a run in a folder of its own, named by what it computes: the same command again runs
    only what is missing or failed, more values extend the sweep, more steps or seconds let its
    cells go further, and a cell that was interrupted goes on where it was.
    """
    if options["address"] and options["engine"] != "ray":
        raise UserError("--address is of a Ray cluster: add --engine ray")
    overrides, axes = _values(options, assignments)
    plan = make_plan(name_or_file, overrides, axes, seeds, measures or (), source, data_dir)
    folder = SweepFolder(out or ROOT / plan.sweep.experiment)
    there = folder.read()
    whole = extended(there, plan.sweep, folder.path) if there else plan.sweep
    states = {cell.id: folder.standing(cell, whole.eval) for cell in plan.cells}
    unfinished = [cell for cell in plan.cells if states[cell.id] is not RunState.FINISHED]
    # what failed before comes last
    waiting = sorted(unfinished, key=lambda cell: states[cell.id].standing is RunState.FAILED)
    if dry_run:
        _list(plan, states, folder, len(waiting))
        return
    signal = None
    if there and (raised := longer(flat(there.base), flat(whole.base))):
        click.echo(_further(raised, plan, folder))
    if waiting:
        checked = _with_data(waiting, data_dir, elsewhere=bool(options["address"]))
        from otgan.sweep.scheduler import Worklist

        worklist = Worklist(
            folder, tuple(waiting), tuple(whole.eval), data_dir, options["max_failures"]
        )
        signal = _run(worklist, checked, plan, whole, options)
    else:
        folder.record(whole, plan.cells)
    _conclude(plan, folder, whole.eval, signal)


def _with_data(cells: list[Cell], data_dir: Path | None, elsewhere: bool) -> list[Cell]:
    """The cells whose data are here: all, or where they run elsewhere, as on a cluster whose nodes
    alone have the data, those that can be checked before they begin.

    Raises:
        UserError: a cell is to run here, and its data are not.
    """
    found, absent = [], ""
    for cell in cells:
        try:
            places.require_all(cell.config, data_dir)
            found.append(cell)
        except UserError as error:
            if not elsewhere:
                raise
            absent = str(error)
    if absent:
        left = len(cells) - len(found)
        click.echo(f"{left} of {len(cells)} cells are looked at on the nodes: {absent}", err=True)
    return found


def _run(
    worklist: Worklist,
    checked: list[Cell],
    plan: SweepPlan,
    whole: SweepRecord,
    options: dict[str, Any],
) -> int | None:
    """Check cells, record the sweep, work it off. Returns the signal that interrupted it, if one
    did.
    """
    from otgan.sweep.check import check
    from otgan.sweep.scheduler import work_off

    check(checked, worklist.measures, worklist.data_dir)
    with ExitStack() as opened:
        executor = _executor(opened, len(worklist.cells), options)
        worklist.folder.record(whole, plan.cells)
        click.echo(
            f"{len(worklist.cells)} of {len(plan.cells)} cells to run, in {worklist.folder.path}"
        )
        board = opened.enter_context(
            Board(worklist.folder, worklist.cells, worklist.measures, terminal())
        )
        return work_off(worklist, executor, board)


def _executor(opened: ExitStack, cells: int, options: dict[str, Any]) -> Executor:
    """Where cells run, for as long as `opened` lasts."""
    if options["engine"] == "ray":
        from otgan.sweep.ray_executor import RayExecutor, connected

        ray = opened.enter_context(connected(options["address"]))
        sparing = options["max_failures"] is not None
        return RayExecutor(
            ray, options["jobs"], cells, sparing, options["cell_timeout"], options["address"]
        )
    from otgan.sweep.local_executor import LocalExecutor, default_jobs

    return LocalExecutor(options["jobs"] or default_jobs(cells), options["cell_timeout"])


def _values(
    options: dict[str, Any], assignments: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What all cells share, and the axes, by dotted key."""
    given = {flag: options[flag[2:].replace("-", "_")] for flag in (*AXES, *SINGLE)}
    overrides = {FLAGS[flag][0]: given[flag] for flag in SINGLE if given[flag] is not None}
    overrides |= chosen_loggers(options)
    axes = {FLAGS[flag][0]: [*map(_plain, given[flag])] for flag in AXES if given[flag] is not None}
    for assignment in assignments:
        key, values = parse_several(assignment)
        if key in overrides or key in axes:
            raise UserError(
                f"{key} is given twice, by --set {assignment} and before: give all its values at"
                " once"
            )
        if len(values) > 1:
            axes[key] = values
        else:
            overrides[key] = values[0]
    return overrides, axes


def parse_several(assignment: str) -> tuple[str, list[Any]]:
    """`key=a,b` of `--set`: commas inside brackets and quotes belong to a value.

    Raises:
        UserError: there is no `=`, or an empty value.
    """
    key, _ = experiments.parse_set(assignment)
    text = assignment.partition("=")[2].strip()
    if not all(word.strip() for word in text.split(",")):
        raise UserError(
            f"--set {assignment}: an empty value; give at least one, and commas between them, such"
            f" as --set {key}=1,2"
        )
    try:
        return key, from_toml(f"values = [{text}]")["values"]
    except ValueError:  # words without quotes; what is nested too deep is refused there
        return key, [experiments.parse_set(f"{key}={word}")[1] for word in text.split(",")]


# --- what is printed ------------------------------------------------------------------------------


def _list(plan: SweepPlan, states: dict[str, RunState], folder: SweepFolder, waiting: int) -> None:
    rows = [(cell.id, cell.label, states[cell.id]) for cell in plan.cells]
    terminal().print(plain_table(("cell", "values", "state"), rows))
    click.echo(f"{waiting} of {len(plan.cells)} cells would run, in {folder.path}")


def _further(raised: list[str], plan: SweepPlan, folder: SweepFolder) -> str:
    """What it means that a sweep is to go further than it went."""
    others = len(set(folder.cells()) - {folder.folder(cell.id).path.name for cell in plan.cells})
    words = f"the sweep goes further: {'; '.join(raised)}"
    if others:
        words += f"; cells of other values ({others}) do when they are asked for again"
    again = rising_again(plan.cells[0].config)
    return f"{words}. {again}" if again else words


def _conclude(
    plan: SweepPlan, folder: SweepFolder, measures: list[str], signal: int | None
) -> None:
    """The table, what is missing from it, and how to go on."""
    means = aggregate(folder.results(plan.cells))
    trained = means.trained
    if trained:
        _print(means, bool(measures))
    if measures:
        for note in (
            *means.comparison.notes,
            *score_marks(trained, [label(cell) for cell in trained], means.comparison),
        ):
            click.echo(note, err=True)
    raised = sum(bool(cell.raised) for cell in trained)
    if 0 < raised < len(trained) and rising_again(plan.cells[0].config):
        click.echo(
            f"{raised} of {len(trained)} cells were begun for less and went further: where learning"
            " rates fall, they were trained in another way than those begun for as much",
            err=True,
        )
    others = len(folder.cells()) - len(plan.cells)
    click.echo(
        f"sweep     {folder.path}"
        + (f", which holds {others} more cells, of other values" if others else "")
    )
    if left := len(plan.cells) - len(means.finished):
        how = "not all finished" if signal is None else RunState.INTERRUPTED.word
        click.echo(
            f"{how}: {left} of {len(plan.cells)} cells are left ({_lacking(means)}); go on with:"
            f" {command_again(folder.path, said(), 'sweep')}",
            err=True,
        )
        sys.exit(1 if signal is None else exit_code_of(signal))


def _lacking(means: Means) -> str:
    """What cells that are left are, and how many: `3 failed, 1 not begun`."""
    found = sum((Counter(group.counts) for group in means.groups), Counter())
    return ", ".join(
        f"{count} {state.word}" for state, count in found.items() if state is not RunState.FINISHED
    )


def _print(means: Means, judged: bool) -> None:
    """A row for every combination of values: means and standard deviations over the seeds."""
    axes, columns = names(means.sweep.axes), means.short(judged)
    rows = [
        (*group.values.values(), _count(group), *(_number(means, group, name) for name in columns))
        for group in means.groups
        if group.cells
    ]
    terminal().print(plain_table((*axes.values(), "cells", *columns), rows))
    kinds = sorted({(cell.gap_of, cell.gap_kind) for cell in means.trained if cell.gap_kind})
    gaps = " and ".join(f"{what}, {kind} gap" for what, kind in kinds)
    click.echo(
        f"{means.sweep.experiment}: mean ± standard deviation over seeds; {SHARE}: share of {gaps}"
    )


def _count(group: SeedGroup) -> str:
    done, trained = len(group.finished), len(group.trained)
    others = {
        "not judged": trained - done,
        "not finished": len(group.cells) + group.absent - trained,
    }
    return ", ".join([f"{done}", *(f"{count} {word}" for word, count in others.items() if count)])


def _number(means: Means, group: SeedGroup, name: str) -> str:
    found = means.spread(group, name)
    return (
        f"{means.known[name].text(found.mean)}{means.known[name].deviation(found.sd)}"
        if found
        else ""
    )

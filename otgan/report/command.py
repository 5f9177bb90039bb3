"""`otgan report`: from folders to a page or to numbers. No JAX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from otgan.errors import UserError
from otgan.report.numbers import as_csv, as_json, of_runs, of_sweep
from otgan.report.page import render
from otgan.results.run import Run, read_run
from otgan.results.sweep import Sweep, is_sweep, read_sweep

Target = Sweep | list[Run]
PAGES, PICTURES = (".html", ".htm"), (".png", ".svg", ".pdf")


def read(paths: Sequence[Path]) -> Target:
    """What a report is about: one sweep, or runs.

    Raises:
        UserError: a folder is not there or is neither, or there are several and one is a sweep.
    """
    for path in paths:
        if not path.is_dir():
            raise UserError(f"there is no folder {path}: give a run, several runs, or a sweep")
    sweeps = [path for path in paths if is_sweep(path)]
    if sweeps and len(paths) > 1:
        raise UserError(
            f"{sweeps[0]} is a sweep, which has a page of its own: give it alone, or give runs"
        )
    if sweeps:
        return read_sweep(sweeps[0])
    distinct = {path.resolve(): path for path in reversed(paths)}
    return [read_run(path) for path in reversed(distinct.values())]


def numbers(target: Target, form: Literal["json", "csv"]) -> str:
    """The numbers, as text."""
    found = of_sweep(target) if isinstance(target, Sweep) else of_runs(target)
    return as_json(found) if form == "json" else as_csv(found)


def write(target: Target, output: Path) -> Path:
    """Write the page or, where the file is called as one, a picture of the sweep. Returns where.

    Raises:
        UserError: it cannot be written there, is called as something else, or runs are to be drawn
            that are no sweep.
    """
    if output.suffix not in (*PAGES, *PICTURES):
        raise UserError(
            f"{output}: give -o a name that ends in .html or, for a picture of a sweep, in"
            f" {', '.join(PICTURES)}"
        )
    try:
        if output.suffix in PAGES:
            # a lone surrogate in a hand-edited file is no text
            output.write_bytes(render(target).encode("utf-8", errors="replace"))
        elif isinstance(target, Sweep):
            from otgan.report.still import still

            still(target).savefig(output, dpi=110)
        else:
            raise UserError(
                f"{output}: a picture is made of a sweep; of runs there is a page, so give -o a"
                " name that ends in .html"
            )
    except OSError as error:
        raise UserError(
            f"cannot write {output} ({error.strerror}); give -o a file in a folder that is there"
            " and has room"
        ) from None
    return output

"""`otgan report`: from folders to a page or to numbers. No JAX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

from otgan import __version__
from otgan.errors import UserError
from otgan.files import write_atomically
from otgan.report.numbers import as_csv, as_json, of_runs, of_sweep
from otgan.report.page import render
from otgan.results.run import Run, read_run
from otgan.results.sweep import Sweep, is_sweep, read_sweep

Target = Sweep | list[Run]
PAGES, PICTURES = (".html", ".htm"), (".png", ".svg", ".pdf")

MAKER = f"otgan {__version__}"
MAKERS = {".png": "Software", ".svg": "Creator", ".pdf": "Creator"}
"""Under which key a picture says who made it."""

OURS = {
    ".png": b"Software\0otgan ",
    ".svg": b"<dc:title>otgan ",
    ".pdf": b"/Creator (otgan ",
    **dict.fromkeys(PAGES, b'<meta name="generator" content="otgan '),
}
"""What otgan's own files have near their beginning or their end."""

NEAR = 4096  # bytes


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

    A file that is there is replaced, as a whole, if an earlier report wrote it.

    Raises:
        UserError: it cannot be written there, is called as something else, what is there is no
            report, or what is to be drawn is no sweep, or one without an axis.
    """
    if output.suffix not in (*PAGES, *PICTURES):
        raise UserError(
            f"{output}: give -o a name that ends in .html or, for a picture of a sweep, in"
            f" {', '.join(PICTURES)}"
        )
    if output.suffix in PICTURES and not isinstance(target, Sweep):
        raise UserError(
            f"{output}: a picture is made of a sweep; of runs there is a page, so give -o a"
            " name that ends in .html"
        )
    if output.suffix in PICTURES and isinstance(target, Sweep) and not target.axes:
        raise UserError(
            f"{output}: a picture shows a sweep's numbers along its axes, and this one has seeds"
            " alone; give -o a name that ends in .html"
        )
    try:
        _require_ours(output)
        # where it is a link, what it leads to
        write_atomically(output.resolve(), _content(target, output.suffix))
    except OSError as error:
        raise UserError(
            f"cannot write {output} ({error.strerror}); give -o a file in a folder that is there"
            " and has room"
        ) from None
    return output


def _content(target: Target, suffix: str) -> bytes:
    if suffix in PAGES or not isinstance(target, Sweep):
        # a lone surrogate in a hand-edited file is no text
        return render(target).encode("utf-8", errors="replace")
    from otgan.report.still import still

    drawn = BytesIO()
    still(target).savefig(drawn, format=suffix[1:], dpi=110, metadata={MAKERS[suffix]: MAKER})
    return drawn.getvalue()


def _require_ours(path: Path) -> None:
    """See that a file is not there, is empty, or is an earlier report.

    Raises:
        OSError: it cannot be read.
        UserError: it is something else.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        ends = file.read(NEAR)
        file.seek(max(0, path.stat().st_size - NEAR), os.SEEK_SET)
        ends += file.read()
    if OURS[path.suffix] not in ends:
        raise UserError(
            f"{path} is there already, and otgan did not write it: give -o another name, or move it"
            " away"
        )

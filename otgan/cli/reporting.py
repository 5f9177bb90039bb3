"""The command that shows what came out: a page, or numbers."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from otgan.cli.group import main
from otgan.cli.shared import PATH
from otgan.errors import UserError

DEFAULT = Path("report.html")
OUTPUT = "The page, or with .png, .svg or .pdf a picture of a sweep."


@main.command()
@click.argument("runs", metavar="RUN|SWEEP...", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", type=PATH, metavar="FILE", show_default=str(DEFAULT), help=OUTPUT)
@click.option("--open", "open_", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the numbers as JSON; a page only with -o."
)
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print the numbers as CSV, a line a run or a cell; a page only with -o.",
)
def report(
    runs: tuple[Path, ...], output: Path | None, open_: bool, as_json: bool, as_csv: bool
) -> None:
    """One HTML page of a run, of several runs side by side, or of a sweep. It needs no network.

    Of a sweep, -o FILE.png draws its numbers along its first axis instead, for a paper or a README.
    Folders may be half written: the page shows what can be read and says what cannot.
    """
    from otgan.report import command

    if as_json and as_csv:
        raise UserError("--json and --csv both print; choose one")
    target = command.read(runs)
    if as_json or as_csv:
        click.echo(command.numbers(target, "json" if as_json else "csv"), nl=False)
    if output or open_ or not (as_json or as_csv):
        page = command.write(target, output or DEFAULT)
        click.echo(f"report    {page}", err=as_json or as_csv)
        if open_:
            webbrowser.open(page.resolve().as_uri())

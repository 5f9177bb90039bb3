"""Tables without lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text


def plain_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(Text(name))  # in words, [mnist-lenet] would be markup
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def grouped_tables(groups: Mapping[str, Sequence[Sequence[str]]]) -> Group:
    """Rows of three cells under the name of their group, all groups in the same columns."""
    rows = [row for group in groups.values() for row in group]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    parts: list[Text | Table] = []
    for group, its in groups.items():
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=widths[0] + 2, no_wrap=True)
        table.add_column(ratio=widths[1], max_width=widths[1])
        table.add_column(ratio=widths[2], max_width=widths[2])
        for row in its:
            table.add_row(*map(Text, (f"  {row[0]}", *row[1:])))
        parts += [Text(group, style="bold"), table]
    return Group(*parts)

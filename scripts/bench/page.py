"""Make the tables of docs/speed.md of files of raw numbers, and keep those beside it.

    python -m scripts.bench.page bench/oracle.json bench/networks.json

A table stands between two comments that name it, and where nothing was measured nothing stands
there.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from otgan.errors import UserError
from otgan.files import write_atomically
from otgan.plain import from_json
from scripts.bench.measuring import ending

DOCS = Path(__file__).parents[2] / "docs"
Record = dict[str, Any]


def main() -> None:
    """Parse, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of speed.md")
    args = parser.parse_args()
    for file in args.files:
        publish(file, args.docs)


def publish(file: Path, docs: Path) -> None:
    """Put a file's table into the page, and the file beside it.

    Raises:
        UserError: it is no file of a benchmark, or was not measured at full size.
    """
    try:
        content = from_json(file.read_bytes())
        name = next(name for name, (kind, _) in TABLES.items() if content.get(kind))
    except (OSError, ValueError, AttributeError, StopIteration):
        raise UserError(f"{file} holds nothing that a benchmark has measured") from None
    if content["of"]["size"] == "small" or content["of"].get("points") == "stand-in":
        raise UserError(
            f"{file} was measured with --small or --without-data: its numbers are not the page's"
        )
    kind, table = TABLES[name]
    (docs / "measured").mkdir(exist_ok=True)
    shutil.copy(file, docs / "measured" / f"{name}.json")
    raw = f"All numbers: [{name}.json](measured/{name}.json)."
    text = f"{measured(content, kind)} {raw}\n\n{table(content[kind])}"
    page = docs / "speed.md"
    write_atomically(page, placed(page.read_text(), name, text))
    print(f"{page}: {name}")


def placed(page: str, name: str, text: str) -> str:
    """A page with a text between the comments of that name."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    whole = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(whole.findall(page)) != 1:
        raise UserError(f"the page has no one place for {name}, between {begin} and {end}")
    return whole.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", page)


def measured(content: Record, kind: str) -> str:
    """When, on what, and with which versions."""
    whole = content.get("conditions")
    conditions = [whole] if whole else [record["conditions"] for record in content[kind]]
    dates = sorted({c["date"] for c in conditions})
    busy = [c["busy"] for c in conditions if c["busy"] is not None]
    others = f", of which others took at most {max(busy):.0%}" if busy else ""
    packages = ", ".join(f"{name} {number}" for name, number in content["of"]["versions"].items())
    return (
        f"Milliseconds, measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on"
        f" {' and '.join(sorted({machine(c) for c in conditions}))}{others}; {packages}."
    )


def machine(conditions: Record) -> str:
    """What computed."""
    host = f"{conditions['cores']} cores of {conditions['processor']}"
    devices = [device for device in conditions["devices"] if device != "cpu"]
    return f"{' and '.join(devices)} at {host}" if devices else host


def oracle(cells: list[Record]) -> str:
    """Milliseconds, ours over the bare products, and others' over ours."""
    peers = list(dict.fromkeys(p for c in cells for p in (*c["why_not"], *c["milliseconds"])))
    peers = sorted(set(peers) - {"otgan", "products"}, key=str.lower)
    rows = []
    for cell in sorted(cells, key=lambda c: (c["n"], c["lam"])):
        of = cell["milliseconds"]
        ours = of["otgan"]
        rows.append(
            [
                f"{cell['n']:,}, {cell['lam']:g}, {cell['gap']:g}",
                brief(of["products"]),
                f"{brief(ours)} ({ours / of['products']:.2f})",
                *(
                    f"{brief(of[p])} ({of[p] / ours:.3g})"
                    if p in of
                    else cell["why_not"].get(p, "not measured")
                    for p in peers
                ),
            ]
        )
    head = ["n, lam, gap", "products", "ours (over products)"]
    return markdown([*head, *(f"{peer} (over ours)" for peer in peers)], rows)


def networks(records: list[Record]) -> str:
    """Milliseconds, and ours over the faster of PyTorch's layouts."""
    rows = []
    for record in records:
        of = dict(record["milliseconds"])
        ours = of.pop("otgan")
        best = min(of, key=lambda name: of[name], default=None)
        theirs = (
            [f"{brief(of[best])} ({best.partition(', ')[2]})", f"{ours / of[best]:.2f}"]
            if best
            else ["not measured", ""]
        )
        what = [record["recipe"], record["what"], str(record["batch"])]
        rows.append([*what, brief(ours), *theirs])
    return markdown(["recipe", "what", "batch", "ours", "PyTorch", "ours over it"], rows)


def gpu(parts: dict[str, Record]) -> str:
    """The tables of a check's parts, and what the parts came to that are no table."""
    found = {name: part["found"] or {} for name, part in parts.items() if part["well"]}
    steps = {name: part for name, part in found.items() if "peak_bytes" in part}
    rows = [
        [name, brief(step["milliseconds"]), brief(step["peak_bytes"] / 2**20), brief(step["loss"])]
        for name, step in steps.items()
    ]
    failed = [name for name, part in parts.items() if not part["well"]]
    return "\n\n".join(
        [
            f"Tests: {found.get('tests', 'not passed')}.",
            oracle(found.get("oracle", {}).get("cells", [])),
            networks(found.get("networks", {}).get("rows", [])),
            markdown(["steps of", "ours", "memory at most, MiB", "mean loss"], rows),
            *([f"Not well: {', '.join(failed)}."] if failed else []),
        ]
    )


TABLES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "oracle": ("cells", oracle),
    "networks": ("rows", networks),
    "gpu": ("parts", gpu),
}
"""By name: what its records are called in the file, and what makes the table of them."""


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def brief(number: float) -> str:
    """Three digits, or as many as there are."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


if __name__ == "__main__":
    ending(main)

"""What the program says of folders that are there, as plain data."""

import json
from pathlib import Path

from otgan.sweep.ledger import Ledger
from otgan.sweep.table import tabulate


class Stored:
    """A cell as its folder has it, whatever hash its config has today."""

    def __init__(self, folder):
        told = json.loads((folder / "cell.json").read_text())
        self.id, self.values, self.seed = folder.name, told["values"], told["seed"]


def sweep_states(path):
    """The state of every cell of a sweep, by its name."""
    ledger = Ledger(Path(path))
    return {id_: str(ledger.state(id_)) for id_ in ledger.cells()}


def sweep_table(path):
    """The numbers of the table that `otgan sweep` ends with: by the cells' values, then by column, the mean over seeds."""
    ledger = Ledger(Path(path))
    cells = [Stored(ledger.folder(id_).path) for id_ in ledger.cells()]
    found = tabulate(ledger, cells, [])
    return {" ".join(map(str, row.values.values())): {name: spread.mean for name, spread in row.numbers.items()} for row in found.rows}

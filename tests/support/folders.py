"""What the program says of folders that are there, as plain data."""

from pathlib import Path

from otgan.results.aggregate import aggregate
from otgan.results.sweep import read_sweep
from otgan.sweep.folder import SweepFolder

# what the table of version 0.1.0 called them
CALLED = {"w2 / w2_floor": "w2 / floor", "converged_share": "within epsilon"}


def sweep_states(path):
    """The state of every cell of a sweep, by its name."""
    root = SweepFolder(Path(path))
    return {id_: str(root.state(id_)) for id_ in root.cells()}


def sweep_table(path):
    """The numbers of the table that `otgan sweep` ends with: by the cells' values, then by column,
    the mean over seeds.
    """
    means = aggregate(read_sweep(Path(path)))
    columns = means.short(judged=False)
    found = {
        " ".join(group.values[key] for key in ("oracle.lam", "oracle.epsilon")): group
        for group in means.groups
    }
    return {
        values: {CALLED.get(name, name): means.spread(group, name).mean for name in columns}
        for values, group in found.items()
    }

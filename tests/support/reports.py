"""Run folders and sweeps as training leaves them, written by hand in an instant."""

import json
from itertools import product

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from otgan import experiments
from otgan.runs import RunFolder
from otgan.sweep.folder import Cell, SweepFolder, SweepRecord

SUMMARY = {
    "w2": 0.5,
    "w2_floor": 0.4,
    "modes": 25,
    "modes_total": 25,
    "loss": 0.2,
    "converged_share": 1.0,
    "seconds": 3.5,
    "epsilon": 2.0,
}
PROTOCOL = {
    "metric": "fid[x]",
    "features": "x",
    "samples": 100,
    "references": 100,
    "split": "test",
    "seeds": [0],
}


def line(step, **changes):
    """A window of ten steps."""
    plain = {
        "loss": 1.0 / step,
        "dual_gap": 1.0,
        "epsilon": 2.0,
        "dual_converged": 1.0,
        "ready": 1.0,
        "gradient_norm": 2.0,
    }
    return {"step": step, "steps": 10, "dual_iterations": 15 * step, **plain, **changes}


def score(mean, metric="fid[x]", fingerprint="abc", step=40, floor=0.1, **protocol):
    """A line of scores.jsonl."""
    body = {
        "mean": mean,
        "sd": None,
        "values": [mean],
        "floor": floor,
        "better": "lower",
        "marks": [],
    }
    return {
        **{"subject": "r", "step": step, "metric": metric, **body},
        **{"fingerprint": fingerprint, "protocol": {**PROTOCOL, "metric": metric, **protocol}},
    }


def picture(path, tone=90, size=(40, 40)):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.full((*size, 3), tone, np.uint8)).save(path)


def write_lines(path, records):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def end(folder, summary=SUMMARY, state="finished", lines=None, scores=(), reason=""):
    """Let a run have come to its end."""
    folder.write_status(state, 40, 3.5, {**summary, "gap_kind": "certified"}, reason)
    write_lines(
        folder.metrics, [line(step) for step in (10, 20, 30, 40)] if lines is None else lines
    )
    write_lines(folder.scores, scores)
    for step, tone in ((20, 60), (40, 200)):
        picture(folder.picture(step), tone)
    return folder


def run_folder(path, name="sinkhorn-grid", overrides=None, **ending):
    """A finished run."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.create(experiments.resolve(name, overrides).json())
    folder.write_environment(
        {
            "versions": {"otgan": "0.1.0"},
            "gap_kind": "certified",
            "data": {"name": "grid", "train": 5},
        }
    )
    return end(folder, **ending)


def renamed(folder, name):
    """The same run under a name that its config would refuse."""
    folder.config_path.write_text(json.dumps({**folder.read_config(), "name": name}))


def sweep_folder(path, axes, seeds, name="sinkhorn-grid", measures=()):
    """A sweep of which nothing has begun, as its folder records it.

    Its cells' folders by values and seed.
    """
    cells = {}
    for *values, seed in product(*axes.values(), seeds):
        placed = dict(zip(axes, values, strict=True))
        cells[(*values, seed)] = Cell(
            experiments.resolve(name, {**placed, "train.seed": seed}), placed, seed
        )
    base = experiments.resolve(name).model_dump(mode="json")
    root = SweepFolder(path)
    root.record(SweepRecord(name, base, axes, list(seeds), [*measures]), cells.values())
    return {place: root.folder(cell.id) for place, cell in cells.items()}


def _colored(tree):
    if isinstance(tree, dict):
        return {key: _colored(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_colored(value) for value in tree]
    return "#123456" if isinstance(tree, str) and tree.startswith("--") else tree


def checked(figure):
    """The figure as plotly's own classes take it; they refuse what they do not know."""
    return go.Figure(_colored({"data": figure["data"], "layout": figure["layout"]}))

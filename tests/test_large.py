"""Runs on data that stay on the disk: the same numbers as in memory, resume to the bit, and what is
refused.
"""

import json
from functools import cache

import jax
import numpy as np
import pytest
from PIL import Image

from otgan import feeding
from otgan.errors import UserError
from otgan import experiments
from tests.support.helpers import FAMILIES, TINY, Notes, Silent, run, setup
from tests.test_loop import StopAfter, equal, final_state, lines

pytestmark = pytest.mark.slow

IN_MEMORY, ON_DISK = None, 0.0
SMALL = {key: value for key, value in TINY.items() if not key.startswith("data.")}
KINDS = [kind for kind, (name, _) in FAMILIES.items() if not name.startswith("semidiscrete")]


@pytest.fixture(autouse=True)
def three_steps_at_a_time(monkeypatch, tmp_path):
    """Dispatches that need several fetches, of which the last is left half used."""
    monkeypatch.setattr(feeding, "BYTES", 2_000)
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))


@cache
def points():
    draw = np.random.default_rng(0)
    return (draw.integers(-2, 3, (400, 2)) + 0.1 * draw.normal(size=(400, 2))).astype(np.float32)


@cache
def pictures():
    return np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8)


@pytest.fixture
def file(tmp_path, request):
    which = getattr(request, "param", "entropic")
    np.save(tmp_path / "x.npy", pictures() if which.startswith("layers") else points())
    return tmp_path / "x.npy"


def config(path, memory, which="entropic", **changes):
    name, own = FAMILIES[which]
    given = {"data": {"kind": "own", "path": str(path), "memory": memory}, "batch.draw": "iid"}
    return experiments.resolve(name, {**SMALL, **own, **given, **changes})


def trained(path, where, *args, **changes):
    folder, result = run(config(path, *args, **changes), where)
    return folder, result, final_state(folder, config(path, *args, **changes))


def far(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(
        float(np.nanmax(np.abs(np.asarray(x, float) - np.asarray(y, float)), initial=0))
        for x, y in pairs
        if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    )


@pytest.mark.parametrize(("which", "file"), [(kind, kind) for kind in KINDS], indirect=["file"])
def test_data_on_the_disk_train_as_in_memory(which, file, tmp_path):
    _, there, memory = trained(file, tmp_path / "memory", IN_MEMORY, which)
    _, here, disk = trained(file, tmp_path / "disk", ON_DISK, which)
    print(which, far(memory, disk), equal(memory, disk))
    assert far(memory, disk) <= 1e-6
    assert here.summary.keys() == there.summary.keys()

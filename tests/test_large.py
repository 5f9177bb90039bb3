"""Runs on data that stay on the disk: the same numbers as in memory, resume to the bit, and what is
refused.
"""

import json
import shutil
from functools import cache
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from otgan import experiments, feeding
from otgan.data import OnDisk
from otgan.errors import UserError
from otgan.launch import describe, launch
from tests.support.commands import otgan_alone
from tests.support.helpers import CALIBRATED, FAMILIES, TINY, Silent, run, setup
from tests.test_loop import StopAfter, equal, final_state, lines

pytestmark = pytest.mark.slow

IN_MEMORY, ON_DISK = None, "1B"
SMALL = {key: value for key, value in TINY.items() if not key.startswith("data.")}
EVERY = {**FAMILIES, "calibrated": CALIBRATED}
KINDS = [kind for kind, (name, _) in EVERY.items() if not name.startswith("semidiscrete")]


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


def config(path, memory, which="entropic", **changes: Any):
    name, own = EVERY[which]
    given = {"data": {"kind": "own", "path": str(path), "max_memory": memory}, "batch.draw": "iid"}
    return experiments.resolve(name, {**SMALL, **own, **given, **changes})


def trained(path, where, *args, **changes):
    folder, result = run(config(path, *args, **changes), where)
    return folder, result, final_state(folder, config(path, *args, **changes))


@pytest.mark.parametrize(("which", "file"), [(kind, kind) for kind in KINDS], indirect=["file"])
def test_a_family_reads_what_it_says(which, file):
    """Else the rows that its steps find are others."""
    found = []
    for memory in (IN_MEMORY, ON_DISK):
        together = setup(config(file, memory, which))
        stepper, feed = (
            together.system.stepper,
            feeding.make_feed(together.system.stepper, together.data, together.mesh, 500),
        )
        step, state = jax.jit(stepper.step), stepper.init()
        for _ in range(2):
            state, _ = step(state, feed.at(state.solves).of_step(state.solves))
        found.append(state)
    assert equal(*found)


def test_a_run_on_the_disk_ends_as_in_memory(file, tmp_path):
    there_folder, there, memory = trained(file, tmp_path / "memory", IN_MEMORY)
    here_folder, here, disk = trained(file, tmp_path / "disk", ON_DISK)
    assert equal(memory, disk)
    assert lines(there_folder) == lines(here_folder)
    told = ("seconds", "steps_per_second", "peak_memory_bytes")
    left = [{k: v for k, v in r.summary.items() if k not in told} for r in (there, here)]
    assert left[0] == left[1]


def test_it_is_said_where_the_examples_are(file):
    memory, disk = (describe(setup(config(file, m)))["data"] for m in (IN_MEMORY, ON_DISK))
    assert memory["fingerprint"] == disk["fingerprint"]
    assert (memory.pop("on_disk"), disk.pop("on_disk")) == (False, True)
    (note,) = disk.pop("notes")
    assert "stay on the disk" in note
    assert memory == disk


def test_a_run_goes_on_in_the_middle_of_a_fetch(file, tmp_path):
    _, _, whole = trained(file, tmp_path / "whole", ON_DISK)
    given = config(file, ON_DISK, "entropic", **{"train.log_every": 2})
    folder, result = run(given, tmp_path / "cut", StopAfter(10))
    assert 10 <= result.progress.step < 40
    assert run(given, tmp_path / "cut")[1].progress.step == 40
    assert equal(final_state(folder, given), whole)


def test_what_is_kept_in_memory_may_change_on_the_way(file, tmp_path):
    _, _, whole = trained(file, tmp_path / "whole", IN_MEMORY)
    folder, _ = run(config(file, IN_MEMORY), tmp_path / "cut", StopAfter(10))
    run(config(file, ON_DISK), tmp_path / "cut")
    assert equal(final_state(folder, config(file, ON_DISK)), whole)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "changes", "said"),
    [
        ("semidiscrete", {}, "oracle.family = 'semidiscrete' needs all 360 training examples"),
        ("entropic", {"batch.draw": "stratified"}, "batch.draw = 'stratified' needs all 360"),
    ],
)
def test_what_needs_all_examples_at_once_is_refused(which, changes, said, file):
    with pytest.raises(UserError, match=said) as refused:
        setup(config(file, ON_DISK, which, **changes))
    assert "\n" not in str(refused.value)
    assert "data.max_memory" in str(refused.value)


def test_a_source_on_the_disk_is_refused(file):
    asked = config(
        file, IN_MEMORY, "map", source={"kind": "own", "path": str(file), "max_memory": ON_DISK}
    )
    with pytest.raises(UserError, match="a source needs all 360 training examples in memory"):
        setup(asked)


def test_another_or_a_shorter_file_is_refused(file, tmp_path):
    given = config(file, ON_DISK)
    launch(given, tmp_path / "run", {}, None, None, Silent())
    longer = config(file, ON_DISK, "entropic", **{"train.steps": 50})
    changed = points().copy()
    changed[0, 0] += 1
    np.save(file, changed)
    with pytest.raises(UserError, match="was begun with other data") as refused:
        launch(longer, tmp_path / "run", {}, None, None, Silent())
    assert "\n" not in str(refused.value)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged") as refused:
        launch(longer, tmp_path / "run", {}, None, None, Silent())
    assert "\n" not in str(refused.value)


def test_a_file_that_is_cut_short_during_a_run_ends_it(file, tmp_path):
    class Cut(Silent):
        def advance(self, progress):
            file.write_bytes(file.read_bytes()[:400])

    with pytest.raises(UserError, match="was cut short while it was read"):
        run(config(file, ON_DISK), tmp_path / "run", Cut())


# --- folders, and devices -------------------------------------------------------------------------


def test_a_folder_trains_as_in_memory(tmp_path):
    for number, picture in enumerate(pictures()):
        (tmp_path / "x").mkdir(exist_ok=True)
        Image.fromarray(picture[:16, :16]).save(tmp_path / "x" / f"{number:03}.png")
    given = {"generator.depth": 1, "generator.kind": "mlp", "train.steps": 6}
    runs = [
        trained(tmp_path / "x", tmp_path / f"run-{memory}", memory, **given)
        for memory in (IN_MEMORY, ON_DISK)
    ]
    assert equal(runs[0][2], runs[1][2])


@pytest.mark.parametrize("file", ["layers"], indirect=True)
def test_a_run_is_judged_as_in_memory(file, tmp_path):
    told = []
    for memory in ([], ["--set", "data.max_memory=1B"]):
        out = tmp_path / f"run-{len(memory)}"
        small = ["--batch-size", 16, "--steps", 2, "--set", "generator.width=16"]
        judged = ["--fid", "--pr", "--nearest", "--samples", 300, "--allow-few"]
        for words in (
            ["run", "sinkhorn-mnist", "--data", file, "--out", out, *small, *memory],
            ["eval", out, *judged],
        ):
            done = otgan_alone(*words)
            assert done.returncode == 0, done.stderr
        scores = [json.loads(line) for line in (out / "eval/scores.jsonl").read_text().splitlines()]
        told.append({score["metric"]: (score["values"], score["floor"]) for score in scores})
        assert [*(out / "eval").glob("nearest-*.png")]
    assert told[0] == told[1]
    assert {"fid[random]", "memorised"} <= told[0].keys()


def test_batches_lie_along_several_devices(file, tmp_path):
    ends = []
    for memory in ([], ["--set", "data.max_memory=1B"]):
        out = tmp_path / f"run-{len(memory)}"
        done = otgan_alone(
            *["run", "sinkhorn-grid", "--data", file, "--out", out, "--devices", 4],
            *["--batch-size", 32, "--steps", 20, "--set", "generator.width=16", *memory],
            XLA_FLAGS="--xla_force_host_platform_device_count=4",
        )
        assert done.returncode == 0, done.stderr
        ends.append([{**one, "seconds": 0} for one in map(json.loads, _lines(out))])
    assert ends[0] == ends[1]


def _lines(out):
    return (out / "metrics.jsonl").read_text().splitlines()


@pytest.mark.parametrize("file", ["layers"], indirect=True)
def test_what_a_cost_sees_must_have_room_on_the_disk(file, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    with pytest.raises(UserError, match="--set cost") as refused:
        setup(config(file, ON_DISK, "layers"))
    assert "what is free for" in str(refused.value)
    assert "cost.kept=none" in str(refused.value)


@pytest.mark.parametrize("which", ["layers", "layers apart"])
@pytest.mark.parametrize("file", ["layers"], indirect=True)
def test_what_a_cost_sees_of_all_examples_stays_on_the_disk_too(which, file):
    memory, disk, again = (setup(config(file, m, which)).data for m in (None, ON_DISK, ON_DISK))
    assert memory.features
    assert disk.features
    assert again.features
    for kept, *others in zip(memory.features, disk.features, again.features, strict=True):
        for other in others:
            assert isinstance(other, OnDisk)
            assert np.array_equal(other[:], np.asarray(kept))

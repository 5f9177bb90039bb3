"""Checkpoints that a disk has changed: the one before is taken, and both are named."""

import asyncio
import gc
import json
import logging
import shutil

import jax
import numpy as np
import pytest

from otgan.checkpoints import Checkpoints
from otgan.data import Form
from otgan.errors import DamagedWarning, UserError
from otgan.launch import launch
from otgan.restore import kept_steps, restore
from otgan.runs import RunFolder
from otgan.system import build
from tests.support.commands import otgan
from tests.support.helpers import Notes, Silent, dataset, run, tiny_config
from tests.test_loop import equal, final_state

pytestmark = pytest.mark.slow


def files(checkpoint):
    return [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]


def largest(checkpoint):
    return max(files(checkpoint), key=lambda path: path.stat().st_size)


def truncated(checkpoint):
    path = largest(checkpoint)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(checkpoint):
    for path in files(checkpoint):
        path.write_bytes(b"")


def gutted(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def without_its_largest_file(checkpoint):
    largest(checkpoint).unlink()


def with_other_numbers(checkpoint):
    """As valid as before, but not what was saved."""
    path = checkpoint / "numbers/metadata"
    numbers = json.loads(path.read_text())
    numbers["seconds"] += 1
    path.write_text(json.dumps(numbers))


CONSTANT = {"generator.optimizer.schedule": "constant"}
DAMAGES = [truncated, emptied, gutted, without_its_largest_file, with_other_numbers]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with the checkpoints of steps 20 and 40."""
    path = tmp_path_factory.mktemp("trained") / "run"
    for steps in (20, 40):
        launch(tiny_config(**CONSTANT, **{"train.steps": steps}), path, {}, None, None, Silent())
    assert kept_steps(RunFolder(path)) == [20, 40]
    return path


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_goes_on_from_the_checkpoint_before_and_ends_where_it_would_have(
    copied, trained, damage
):
    damage(copied / "checkpoints/40")
    notes = Notes()
    config = tiny_config(**CONSTANT)
    folder, outcome = run(config, copied, notes)
    [said] = [text for text in notes.said if "damaged" in text]
    assert "checkpoint of step 40" in said
    assert "that of step 20 is taken" in said
    assert (copied / "damaged-checkpoints/40").is_dir()
    assert outcome.state == "finished"
    assert equal(final_state(folder, config), final_state(RunFolder(trained), config))
    steps = [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 40


def test_who_only_reads_is_warned_and_moves_nothing(copied):
    truncated(copied / "checkpoints/40")
    done = otgan("eval", copied, "--samples", 200)
    assert done.exit_code == 0, done.output
    [said] = [line for line in done.output.splitlines() if line.startswith("Warning: ")]
    assert "checkpoint of step 40" in said
    assert "that of step 20 is taken" in said
    assert "step 20" in done.output
    assert (copied / "checkpoints/40").is_dir()
    with pytest.warns(DamagedWarning, match="step 40"):
        assert restore(RunFolder(copied)).step == 20


# pytest sees what `otgan.checkpoints` keeps from the standard error
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_flipped_bit_is_noticed_or_changes_nothing(copied):
    """Wherever it is, and whether or not the file can still be read."""
    sound, draw, noticed = read(copied), np.random.default_rng(0), 0
    for path in files(copied / "checkpoints/40/state"):
        whole = path.read_bytes()
        for _ in range(4):
            changed = bytearray(whole)
            changed[draw.integers(len(whole))] ^= 1 << int(draw.integers(8))
            path.write_bytes(changed)
            state = read(copied)
            noticed += state is None
            assert state is None or equal(state, sound)
        path.write_bytes(whole)
    assert noticed > 4


def read(path):
    """The state of step 40, or None where its checkpoint is damaged."""
    config = tiny_config(**CONSTANT)
    init = jax.jit(build(config, Form.of(dataset(config))).stepper.init)
    with Checkpoints(path / "checkpoints") as checkpoints:
        try:
            return checkpoints.restore(init(), 40).state
        except UserError:
            return None


def test_an_edited_width_is_one_sentence(copied):
    config = json.loads((copied / "config.json").read_text())
    config["generator"]["width"] = 24
    (copied / "config.json").write_text(json.dumps(config))
    done = otgan("run", copied)
    assert done.exit_code == 2
    assert "does not fit the run's config.json" in done.output
    assert "float32 (16,) there, and float32 (24,) by the config" in done.output
    assert "strict" not in done.output
    assert (copied / "checkpoints/40").is_dir()


def test_a_run_whose_checkpoints_are_all_damaged_is_one_sentence(copied):
    emptied(copied / "checkpoints/20")
    emptied(copied / "checkpoints/40")
    done = otgan("run", copied, "--steps", 60)
    assert done.exit_code == 2
    assert "cannot read the checkpoint of step 40" in done.output
    assert "no older one can be" in done.output


def test_of_writes_that_fail_together_asyncio_logs_none(caplog):
    async def fails():
        raise ValueError("Failed to write 3084 bytes [os_error_code='28']")

    async def both(task):
        _ = [asyncio.ensure_future(task()) for _ in range(2)]
        await asyncio.sleep(0)

    async def wrong():
        raise ValueError("something else")

    for task, logged in ((fails, 0), (wrong, 2)):
        with caplog.at_level(logging.ERROR, "asyncio"):
            asyncio.run(both(task))
            gc.collect()
        assert len(caplog.records) == logged

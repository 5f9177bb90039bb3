"""Runs of every family that are killed or interrupted again and again end as if nothing had
happened: states, numbers, scores, pictures and TensorBoard's events, to the bit.
"""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from otgan.runs import RunFolder
from tests.support import storm
from tests.support.helpers import FAMILIES, tiny_config
from tests.test_loop import equal, final_state

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("OTGAN_KILLS", "3"))
SIGNALS = signal.SIGKILL, signal.SIGINT, signal.SIGTERM
STOPPED = (130, 143)  # saved, and told so
ENDED = (-signal.SIGKILL, *STOPPED)  # by one of them
JUDGED = {  # kept, drawn and judged often, so that a kill may fall into any of it
    "train.log_every": 5,
    "train.checkpoint_seconds": 1e-6,
    "train.pictures": 4,
    "train.eval_every": 10,
    "train.eval_measures": ["modes"],
    "train.eval_samples": 500,
}


def told(path):
    """Lines without what a clock says."""
    clocks = ("seconds", "otgan")
    return [
        {key: value for key, value in json.loads(line).items() if key not in clocks}
        for line in path.read_text().splitlines()
    ]


# what a run keeps of single steps, by these and by name


def pictures(folder):
    return {
        (int(path.stem.rpartition("-")[2]), path.name): path.read_bytes()
        for path in (folder / "samples").iterdir()
    }


def scores(folder):
    kept = {}
    for line in told(folder / "eval/scores.jsonl"):
        key = line["step"], line["metric"], line["fingerprint"]
        assert key not in kept
        kept[key] = line | {"subject": ""}
    return kept


def events(folder):
    """What TensorBoard shows: of every step and tag the last number that was not purged."""
    shown = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in records(path.read_bytes()):
            if event.session_log.status:
                shown = {key: x for key, x in shown.items() if key[0] < event.step}
            for value in event.summary.value:
                assert (event.step, value.tag) not in shown
                shown[event.step, value.tag] = value.simple_value
    return {key: x for key, x in shown.items() if "second" not in key[1]}


def records(data):
    """A TFRecord's: length, its checksum, bytes, their checksum; the last may be torn."""
    while len(data) >= 12:
        size = int.from_bytes(data[:8], "little")
        if len(data) < size + 16:
            return
        yield Event.FromString(data[12 : 12 + size])
        data = data[size + 16 :]


@pytest.mark.parametrize("which", FAMILIES)
def test_killed_again_and_again_it_ends_as_if_nothing_had_happened(which, tmp_path):
    name, changes = FAMILIES[which]
    judged = "data" not in changes  # of digits there are too few to judge by
    every = JUDGED if judged else {key: x for key, x in JUDGED.items() if "eval" not in key}
    config = tiny_config(name, **every | changes)
    whole, disturbed = tmp_path / "whole", tmp_path / "disturbed"
    operations = storm.count(config, whole)
    seconds = json.loads((whole / "status.json").read_text())["seconds"]
    draw, killed, stopped = np.random.default_rng(0), 0, set()
    while killed < KILLS:
        by, at = SIGNALS[killed % len(SIGNALS)], draw.uniform(0, seconds)
        before = int(draw.integers(1, operations))
        end = {"before": before} if draw.integers(2) else {"after": at}
        code = storm.go(config, disturbed, **end, by=by)
        killed += code in ENDED
        if code in STOPPED:
            stopped.add(RunFolder(disturbed).read_status().get("step"))
        if code == 0:  # it outran the signal: the rest falls upon another
            compare(whole, disturbed, config, judged, stopped)
            shutil.rmtree(disturbed)
            stopped.clear()
    assert storm.go(config, disturbed) == 0
    compare(whole, disturbed, config, judged, stopped)
    shutil.rmtree(tmp_path)


def compare(whole, disturbed, config, judged, stopped):
    """Nothing is lost, nothing is there twice; `stopped` are the steps where it was told to end."""
    assert equal(final_state(RunFolder(whole), config), final_state(RunFolder(disturbed), config))
    assert told(whole / "metrics.jsonl") == told(disturbed / "metrics.jsonl")
    for found in (pictures, events, *([scores] if judged else [])):
        expected, there = found(whole), found(disturbed)
        assert len(expected) > 3
        assert {key: there.get(key) for key in expected} == expected
        # one that was told to stop draws and judges where it does; one that was killed cannot
        assert {step for step, *_ in there.keys() - expected.keys()} <= stopped

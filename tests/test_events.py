"""TensorBoard's events, judged by the messages and checksums of tensorboardX."""

import time

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import (
    Event,  # pyright: ignore[reportAttributeAccessIssue] - made when it is loaded
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c

from otgan.events import Events

NOW = 1_700_000_000.25


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW)


def records(folder):
    """Of the one file, its events, after a look at lengths and checksums."""
    (file,) = folder.iterdir()
    assert file.name.startswith("events.out.tfevents.")
    raw, found = file.read_bytes(), []
    while raw:
        length, event = raw[:8], raw[12 : 12 + int.from_bytes(raw[:8], "little")]
        assert raw[8:12] == masked_crc32c(length).to_bytes(4, "little")
        assert raw[12 + len(event) :][:4] == masked_crc32c(event).to_bytes(4, "little")
        found.append(event)
        raw = raw[16 + len(event) :]
    return found


def summary(step, scalars):
    values = [Summary.Value(tag=tag, simple_value=x) for tag, x in scalars.items()]
    return Event(wall_time=NOW, step=step, summary=Summary(value=values))


def test_events_are_written_as_protocol_buffers_writes_them(tmp_path, clock):
    rows = {
        1: {"loss": 0.0, "a name, ünïcode": -1.5},
        127: {},
        128: {"loss": float(np.float32(1e-42)), "whole": 3},
        10**12: {f"tag {i}" * 20: float(np.float32(i / 7)) for i in range(300)},
    }
    events = Events(tmp_path, 301)
    for step, scalars in rows.items():
        events.write(step, scalars)
    events.close()
    start = SessionLog(status=SessionLog.START)
    assert records(tmp_path) == [
        event.SerializeToString()
        for event in (
            Event(wall_time=NOW, file_version="brain.Event:2"),
            Event(wall_time=NOW, step=301, session_log=start),
            *(summary(step, scalars) for step, scalars in rows.items()),
        )
    ]


def test_what_single_precision_cannot_hold_is_infinite(tmp_path):
    events = Events(tmp_path, 1)
    events.write(1, {"loss": -1e300, "other": 2.0})
    events.close()
    values = Event.FromString(records(tmp_path)[-1]).summary.value
    assert [value.simple_value for value in values] == [-np.inf, 2]


def test_what_is_flushed_is_on_disk(tmp_path):
    events = Events(tmp_path, 1)
    events.write(1, {"loss": 1.0})
    events.flush()
    assert len(records(tmp_path)) == 3
    events.close()

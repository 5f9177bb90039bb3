import json
from dataclasses import fields, replace

import numpy as np
import pytest
from rich.console import Console

from otgan import versions
from otgan.console import compared_table
from otgan.errors import UserError
from otgan.evaluation import protocol
from otgan.evaluation.protocol import Protocol, Score, append_scores
from otgan.results import judged
from otgan.results.judged import versions_digest
from otgan.results.scores import read_scores, side_by_side

PROTOCOL = Protocol(
    "fid[random]",
    {},
    "random",
    "12ab",
    "x",
    "bytes",
    1_000,
    "mnist",
    "ff00",
    "test",
    500,
    (0, 1),
    {"measure": 1},
)


@pytest.mark.parametrize("name", [field.name for field in fields(Protocol)])
def test_every_field_changes_the_fingerprint(name):
    other = {
        "settings": {"k": 3},
        "seeds": (0, 2),
        "samples": 1_001,
        "references": 501,
        "versions": {"measure": 2},
    }.get(name, "other")
    assert replace(PROTOCOL, **{name: other}).fingerprint != PROTOCOL.fingerprint


def test_the_fingerprint_is_the_same_for_the_same_protocol():
    assert replace(PROTOCOL).fingerprint == PROTOCOL.fingerprint


def test_a_release_changes_no_fingerprint(monkeypatch):
    one = Score(PROTOCOL, (1.0,)).record("run", 10)
    monkeypatch.setattr(protocol, "__version__", "9.9.9")
    other = Score(PROTOCOL, (1.0,)).record("run", 10)
    assert (one["fingerprint"], one["protocol"]) == (other["fingerprint"], other["protocol"])
    assert other["otgan"] == "9.9.9"


def test_scores_of_version_0_1_are_of_another_protocol():
    """Its fingerprints hashed its source: what they stand for is not known.

    They are compared with each other only.
    """
    plain = {key: value for key, value in line(3.0)["protocol"].items() if key != "versions"}
    old = {
        **line(3.0),
        "fingerprint": "15e39585d58f",
        "protocol": {**plain, "version": "0.1.0+1629b970"},
    }
    assert side_by_side([("a", [old]), ("b", [old])])
    with pytest.raises(
        UserError,
        match=(
            r"differ in version \(0.1.0\+1629b970 against None\), versions \(None against"
            r" {'measure': 1}\)"
        ),
    ):
        side_by_side([("a", [old]), ("b", [line(3.0)])])


def test_every_version_is_in_the_digest(monkeypatch):
    before = versions_digest()
    for name, value in (
        ("SAMPLING", versions.SAMPLING + 1),
        ("TRANSPORT", versions.TRANSPORT + 1),
        ("NETWORKS", {**versions.NETWORKS, "inception": 2}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(versions, name, value)
            assert versions_digest() != before
    monkeypatch.setattr(judged, "ALL", (judged.ALL[0]._replace(version=2), *judged.ALL[1:]))
    assert versions_digest() != before


def test_mean_and_spread_are_over_the_seeds():
    values = (1.0, 2.5, 4.0)
    score = Score(PROTOCOL, values)
    assert score.mean == pytest.approx(np.mean(values))
    assert score.sd == pytest.approx(np.std(values, ddof=1))
    assert Score(PROTOCOL, (1.0,)).sd is None


def line(value, **changes):
    return Score(replace(PROTOCOL, **changes), (value,)).record("run", 10)


def test_scores_of_one_protocol_stand_side_by_side_and_the_newest_counts():
    table = side_by_side([("a", [line(3.0), line(2.0)]), ("b", [line(1.0)])])
    assert {subject: record["mean"] for subject, record in table["fid[random]"].items()} == {
        "a": 2.0,
        "b": 1.0,
    }


def test_scores_of_different_protocols_are_refused_and_the_fields_named():
    with pytest.raises(
        UserError,
        match=(
            r"fid\[random\] of a and of b cannot be compared.*samples \(1000 against 50\).*split"
            r" \(test against train\)"
        ),
    ):
        side_by_side([("a", [line(3.0)]), ("b", [line(1.0, samples=50, split="train")])])


def test_the_newest_scores_that_were_measured_alike_stand_side_by_side():
    a = [line(1.0), line(2.0, samples=50), line(3.0), line(4.0, samples=60)]
    table = side_by_side([("a", a), ("b", [line(5.0), line(6.0, samples=50)])])
    assert {subject: record["mean"] for subject, record in table["fid[random]"].items()} == {
        "a": 3.0,
        "b": 5.0,
    }


def test_the_newest_step_counts_however_late_an_older_one_was_judged():
    older, newer = ({**line(value), "step": step} for value, step in ((1.0, 5), (2.0, 10)))
    assert side_by_side([("a", [newer, older])])["fid[random]"]["a"]["mean"] == 2.0


def test_half_a_line_is_left_out_and_takes_no_other_with_it(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text(json.dumps(line(3.0)) + "\n" + json.dumps(line(4.0))[:40])
    assert [record["mean"] for record in read_scores(path)] == [3.0]
    append_scores(path, [line(5.0), line(6.0)])
    assert [record["mean"] for record in read_scores(path)] == [3.0, 5.0, 6.0]
    assert read_scores(tmp_path / "nothing.jsonl") == []


def test_a_score_is_not_repeated_unless_another_came_between(tmp_path):
    path = tmp_path / "scores.jsonl"
    for value in (1.0, 1.0, 2.0, 2.0, 1.0):
        append_scores(path, [line(value)])
    assert [record["mean"] for record in read_scores(path)] == [1.0, 2.0, 1.0]


def test_a_score_that_is_marked_now_is_kept_once_more(tmp_path):
    path = tmp_path / "scores.jsonl"
    for marks in ((), ("trained on it",), ("trained on it",)):
        append_scores(path, [Score(PROTOCOL, (1.0,), marks=marks).record("run", 10)])
    assert [record["marks"] for record in read_scores(path)] == [[], ["trained on it"]]


def test_a_line_that_says_no_more_than_it_must_is_a_score(tmp_path, capsys):
    bare = {key: line(3.0)[key] for key in ("metric", "mean", "fingerprint", "protocol")}
    (tmp_path / "scores.jsonl").write_text(json.dumps(bare) + "\n")
    found = side_by_side([("a", read_scores(tmp_path / "scores.jsonl"))])
    Console().print(compared_table(found, ["a"]))
    assert " 3 " in capsys.readouterr().out
    append_scores(tmp_path / "scores.jsonl", [line(3.0)])
    assert len(read_scores(tmp_path / "scores.jsonl")) == 2


def test_marks_that_are_no_words_are_no_score(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text(
        "".join(
            json.dumps({**line(3.0), "marks": marks}) + "\n"
            for marks in (7, "words", [7], ["words"])
        )
    )
    assert [record["marks"] for record in read_scores(path)] == [["words"]]

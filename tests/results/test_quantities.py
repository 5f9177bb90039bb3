"""One table says what every number is, and plain data from a folder is taken as far as it is
sound.
"""

import json

import numpy as np
import pytest

from otgan.records import windows
from otgan.results.quantities import KNOWN, RATIO, TABLE, TOTALS, known, ratio, recorded
from otgan.results.quantity import Curve, Quantity, Warned, of_record
from otgan.step import must_be_finite

OWN = Quantity(
    "slice_worst",
    "the worst slice of {modes_total} modes",
    unit="cost",
    better="lower",
    format="fine",
    over_window="largest",
    must_be_finite=True,
    brief="worst",
    curve=Curve("Worst slice", "By step."),
    warned=Warned(2.0, "a slice is at {shown}"),
)


def test_every_number_of_the_table_has_one_entry_and_a_meaning():
    assert len({quantity.name for quantity in TABLE}) == len(TABLE)
    assert [quantity.name for quantity in TABLE if not quantity.sentence()] == []
    assert TOTALS == ("dual_iterations", "generator_steps", "examples")


@pytest.mark.parametrize("quantity", [OWN, *TABLE], ids=lambda quantity: quantity.name)
def test_a_quantity_is_read_as_it_was_recorded(quantity):
    assert of_record(json.loads(json.dumps(quantity.record()))) == quantity


@pytest.mark.parametrize("odd", [None, [], "w2", {}, {"name": 3}])
def test_what_has_no_name_is_no_quantity(odd):
    assert of_record(odd) is None


def test_what_a_newer_version_says_of_a_quantity_is_left_out():
    newer = {
        "name": "x",
        "meaning": ["?"],
        "better": "sideways",
        "format": {},
        "warned": [1],
        "curve": 3,
        "must_be_finite": 1,
        "hue": "red",
    }
    assert of_record(newer) == Quantity("x")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("converged_share", 0.9999, "99.9%"),  # never rounded up to all
        ("converged_share", 1.0, "100.0%"),
        ("peak_memory_bytes", 3 * 2**20, "3 MiB"),
        ("dual_iterations", 12345, "12,345"),
        ("steps_per_second", 3.14159, "3.1"),
        ("mode_kl", 0.00123, "0.0012"),
        ("loss", 0.00123, "0.00123"),
        ("nobody_knows", 0.5, "0.5"),
        ("loss", None, ""),
        ("dual_iterations", float("inf"), "inf"),
    ],
)
def test_numbers_are_written_in_their_own_way(name, value, text):
    assert KNOWN[name].text(value) == text


def test_deviations_are_in_the_unit_of_their_number():
    assert KNOWN["converged_share"].deviation(0.0123) == " ± 1.2%"
    assert KNOWN["loss"].deviation(0.0123) == " ± 0.012"
    assert KNOWN["loss"].deviation(None) == ""


def test_meanings_are_filled_in_and_braces_of_others_left_alone():
    facts = {"gap_of": "fields", "gap_kind": "residual"}
    assert (
        KNOWN["converged_share"].sentence(facts)
        == "fields that reached epsilon, by their residual gap"
    )
    assert (
        KNOWN["converged_share"].sentence()
        == "solved duals that reached epsilon, by their reported gap"
    )
    # a folder's words are no program
    assert Quantity("x", "{0.__class__} of {}").sentence(facts) == "{0.__class__} of {}"
    assert OWN.sentence({"modes_total": 25}) == "the worst slice of 25 modes, units of the cost"
    assert OWN.warning(3.0) == "a slice is at 3.0000"
    assert OWN.warning(2.0) == OWN.warning(None) == KNOWN["loss"].warning(1e9) == ""


def test_what_a_family_declares_says_how_its_steps_are_condensed_and_what_must_be_finite():
    records = {
        "slice_worst": np.array([1.0, 5.0, 2.0]),
        "dull": np.array([1.0, 5.0, 3.0]),
        "updates": np.ones(3),
    }
    (window,) = windows(records, 1, 3, known([OWN]))
    assert (window["slice_worst"], window["dull"]) == (5.0, 3.0)
    assert must_be_finite({"slice_worst": 1.0, "dull": 1.0, "loss": 1.0}, known([OWN])) == [
        "loss",
        "slice_worst",
    ]
    assert must_be_finite({"slice_worst": 1.0, "loss": 1.0}) == ["loss"]


def test_a_folder_records_what_the_table_does_not_hold():
    assert recorded([KNOWN["loss"], OWN]) == [OWN.record()]
    # or one folder would change what another's number means
    assert known([Quantity("loss", "mine")])["loss"] is KNOWN["loss"]


def test_w2_is_told_in_multiples_of_its_floor():
    assert ratio({"w2": 1.0, "w2_floor": 0.5}) == {RATIO: 2.0}
    assert (
        ratio({"w2": 1.0, "w2_floor": 0.0})
        == ratio({"w2": "small", "w2_floor": 1.0})
        == ratio({"w2": 1.0})
        == {}
    )


@pytest.mark.parametrize(
    "field", ["meaning", "brief", "format", "unit", "curve", "warned", "over_window"]
)
def test_a_declaration_edited_by_hand_is_read_as_far_as_it_is_sound(field):
    for value in (True, 3, ["cost"], {"a": 1}, None):
        found = of_record({"name": "own", "better": "lower", field: value})
        assert (found.name, found.better) == ("own", "lower")
        assert found.sentence() == ""
        assert found.text(1.0) == "1"

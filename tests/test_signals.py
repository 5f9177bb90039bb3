"""Signals in processes of their own, as a terminal and a scheduler send them."""

import signal
import subprocess
import sys
import time

import pytest

from otgan.signals import Halted, at_once, exit_code_of, interruptible

# what runs no instruction of Python for minutes, as a compilation does
DEAF = """
import hashlib, os, sys
from otgan.signals import interruptible
def last_words(number):
    os.write(1, f"last words {number}\\n".encode())
with interruptible(last_words=last_words):
    print("deaf", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
"""

# the command line, which gets a signal where it begins to import a module, or to parse its words
EARLY = """
import os, sys
where, number, *words = sys.argv[1:]
def send():
    os.kill(os.getpid(), int(number))
class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == where:
            sys.meta_path.remove(self)
            send()
sys.meta_path.insert(0, Sender())
from otgan.__main__ import main
if where == "words":
    from otgan.cli.group import Commands
    Commands.parse_args = lambda *_: send()
sys.argv = ["otgan", *words]
main()
"""


def deaf(*numbers):
    with subprocess.Popen(
        [sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "deaf\n"
        time.sleep(0.3)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.3)
        try:
            return process.wait(15), process.stdout.read()
        except subprocess.TimeoutExpired:
            process.kill()
            return None, ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_what_is_deaf(number):
    assert deaf(number, number) == (128 + number, f"last words {int(number)}\n")


def test_one_signal_does_not():
    assert deaf(signal.SIGINT) == (None, "")


def test_the_first_is_noted_and_the_second_halts():
    with pytest.raises(Halted) as halted, interruptible() as seen:  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
        signal.raise_signal(signal.SIGINT)
    assert halted.value.number == signal.SIGINT
    assert seen == [signal.SIGTERM]


class Cleared:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)  # what is raised in here is thrown away


def test_a_signal_that_a_callback_throws_away_comes_at_the_end(monkeypatch):
    thrown_away, went_on = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: thrown_away.append(lost.exc_type))

    def work():
        with at_once():
            Cleared()
            went_on.append(True)

    with pytest.raises(Halted) as halted:
        work()
    assert thrown_away == [Halted]
    assert went_on
    assert halted.value.number == signal.SIGTERM


def test_one_who_listens_is_told_of_all():
    with interruptible(again=True) as seen:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
    assert seen == [signal.SIGINT] * 3


def test_exit_codes_are_the_shells():
    assert (exit_code_of(signal.SIGINT), exit_code_of(signal.SIGTERM)) == (130, 143)


def early(where, number, *words, within=()):
    return subprocess.run(
        [*within, sys.executable, "-c", EARLY, where, str(int(number)), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["otgan.cli", "pydantic", "jax", "jaxlib.utils", "flax", "words"])
def test_a_signal_during_imports_is_one_line(tmp_path, where, number):
    done = early(where, number, "run", "sinkhorn-grid", "--out", str(tmp_path / "run"))
    assert done.returncode == 128 + number
    said = "Aborted!" if where == "words" else f"ended by {number.name}"
    assert (done.stdout, done.stderr.strip()) == ("", said)
    assert not (tmp_path / "run").exists()


# a command of which one signal is raised where it is thrown away
LOST = """
import os, sys
from otgan.signals import one_line
class Cleared:
    def __del__(self):
        os.kill(os.getpid(), 2)
        for _ in range(1_000):
            pass
with one_line():
    Cleared()
    {}
"""


@pytest.mark.parametrize(
    ("then", "code", "last"),
    [
        ("sys.exit(0)", 0, "SIGINT came, and ended nothing"),
        ("sys.exit(3)", 3, "SIGINT came, and ended nothing"),
        ("{}['absent']", 1, "KeyError: 'absent'"),
    ],
)
def test_one_that_a_callback_throws_away_changes_no_other_end(then, code, last):
    done = alone(LOST.format(then))
    assert done.returncode == code
    assert "SIGINT came, and ended nothing" in done.stderr.splitlines()
    assert done.stderr.splitlines()[-1] == last


# a signal, of which others make another error
MADE_ANOTHER = """
import os
from otgan.signals import one_line
with one_line():
    try:
        os.kill(os.getpid(), 15)
        while True:
            pass
    except BaseException as error:
        try:
            raise ValueError("made of it") {}
        except ValueError as error:
            raise RuntimeError("made of that")
"""


@pytest.mark.parametrize("how", ["", "from error", "from None"])
def test_an_error_that_was_made_of_a_signal_is_one_line(how):
    done = alone(MADE_ANOTHER.format(how))
    assert (done.returncode, done.stderr) == (143, "ended by SIGTERM\n")


def alone(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


def test_so_is_one_before_anything_can_handle_it():
    done = early("otgan.signals", signal.SIGINT, "list")
    assert (done.returncode, done.stdout + done.stderr) == (130, "")


def test_who_was_told_to_ignore_ctrl_c_does():
    """As what a script starts in the background is."""
    deafened = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
    done = early("otgan.cli", signal.SIGINT, "--version", within=deafened)
    assert (done.returncode, done.stderr) == (0, "")

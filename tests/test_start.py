"""A command begins at once: what is not needed to say what is wrong is not imported."""

import subprocess
import sys

import click
import pytest

from otgan.cli.group import COMMANDS, load, main

NUMBERS = {"numpy", "scipy", "pyarrow", "PIL"}
COMPUTING = {"jax", "flax", "optax", "ott", "orbax", "tensorflow", "tensorflow_datasets"}
DRAWING = {"matplotlib", "plotly", "tensorboardX"}
SHOWING = {"rich", "pydantic"}
EVERYTHING = NUMBERS | COMPUTING | DRAWING | SHOWING


def imported(words):
    """What a command line says on its standard error, and which of all these packages it has
    imported at its end.
    """
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print(*({EVERYTHING!r} & set(sys.modules)), sep='\\n'))\n"
        "from otgan.cli import main\n"
        f"main.main({words!r}, 'otgan')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stderr, set(done.stdout.splitlines()) & EVERYTHING


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_imports_no_command(words):
    _, found = imported(words)
    assert not found


REFUSED = {
    "run nosuch": "no experiment called 'nosuch'",
    "run sinkhorn-gird": "did you mean sinkhorn-grid",
    "run sinkhorn-grid --steps x": "not a valid integer",
    "run sinkhorn-grid --steps 0": "train.steps",
    "run sinkhorn-grid --lam -1": "must be above 0",
    "run sinkhorn-grid --loss nosuch": "nosuch",
    "run sinkhorn-grid --set nosuch=1": "unknown key nosuch",
    "run sinkhorn-cifar10 --data-dir nowhere": "CIFAR-10 is not prepared in nowhere",
    "run convex-mixture --set source=nowhere.npz": "nowhere.npz",
    "run sinkhorn-mnist --data-dir nowhere": "MNIST is not prepared in nowhere",
    "run points --data nowhere.csv": "nowhere.csv does not exist",
    "run points": "data of your own",
    "suggest nowhere.csv": "nowhere.csv does not exist",
    "sweep sinkhorn-grid --lam 1,-1": "must be above 0",
    "sweep sinkhorn-cifar10 --lam 1,2 --data-dir nowhere": "CIFAR-10 is not prepared in nowhere",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_is_refused_before_anything_that_computes_is_imported(line, elsewhere):
    said, found = imported(line.split())
    assert REFUSED[line] in said
    assert not found - SHOWING


def test_the_list_of_commands_says_what_they_say():
    load(COMMANDS)
    assert main.commands.keys() == COMMANDS.keys()
    for name, command in main.commands.items():
        stand_in = click.Command(name, help=COMMANDS[name].sentence)
        assert command.get_short_help_str(1_000) == stand_in.get_short_help_str(1_000)
        assert command.callback.__module__ == f"otgan.cli.{COMMANDS[name].module}"


def test_a_mistyped_command_is_told_the_nearest():
    said, _ = imported(["swep"])
    assert "sweep" in said

"""A command begins at once: what is not needed to say what is wrong is not imported, and what was
compiled once is kept.
"""

import os
import subprocess
import sys

import click
import pytest

from otgan.cli.group import COMMANDS, load, main
from tests.support.commands import SMALL, TINY, otgan_alone

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


# --- PyTorch --------------------------------------------------------------------------------------

RECORDING = """
import os, traceback
with open(os.environ["TORCH_SEEN"], "a") as file:
    traceback.print_stack(file=file)
"""


@pytest.mark.slow
def test_nothing_imports_pytorch_where_it_is_installed(tmp_path):
    (tmp_path / "elsewhere/torch").mkdir(parents=True)
    (tmp_path / "elsewhere/torch/__init__.py").write_text(RECORDING)
    path = os.pathsep.join([str(tmp_path / "elsewhere"), os.environ.get("PYTHONPATH", "")])
    seen, run = tmp_path / "seen", tmp_path / "run"
    for words in (
        ("run", "sinkhorn-grid", *TINY, *SMALL, "--out", run),
        ("eval", run, "--samples", 100),
        ("sample", run, "-o", tmp_path / "samples.npz"),
        ("report", run, "-o", tmp_path / "report.html"),
    ):
        done = otgan_alone(*words, PYTHONPATH=path, TORCH_SEEN=str(seen))
        assert not seen.exists(), seen.read_text()
        assert done.returncode == 0, done.stderr


# --- what JAX has compiled ------------------------------------------------------------------------

COMPILING = """
from otgan.cache import keep_programs
keep_programs()
import jax
seen = []
jax.monitoring.register_event_listener(lambda event, **_: seen.append(event))
print(jax.jit(lambda x: 3 * x + 1)(2.0), sum(event.endswith("cache_hits") for event in seen) > 0)
"""


def compile_in(cache, **environment):
    """What a process prints that compiles a program: its result, and whether it was compiled
    before.
    """
    kept = {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", COMPILING],
        capture_output=True,
        text=True,
        check=True,
        env={**kept, "OTGAN_CACHE": str(cache), **environment},
    )
    assert "cache" not in done.stderr
    return done.stdout.split()


def test_what_was_compiled_is_kept_for_the_next_process(tmp_path):
    assert compile_in(tmp_path) == ["7.0", "False"]
    assert compile_in(tmp_path) == ["7.0", "True"]
    for program in (tmp_path / "programs").iterdir():
        program.write_bytes(program.read_bytes()[:-10])
    assert compile_in(tmp_path) == ["7.0", "False"]


def test_it_is_kept_where_the_environment_says(tmp_path):
    compile_in(tmp_path / "cache", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))
    assert not (tmp_path / "cache").exists()
    assert [*(tmp_path / "mine").iterdir()]


def test_it_is_not_kept_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert compile_in(tmp_path / "file/cache") == ["7.0", "False"]

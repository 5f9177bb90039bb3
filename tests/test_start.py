"""A command begins at once: what is not needed to say what is wrong is not imported, and what was
compiled once is kept.
"""

import os
import subprocess
import sys
import warnings
from unittest import mock

import click
import pytest

from otgan.cache import PROGRAMS, keep_programs
from otgan.cli.group import COMMANDS, load, main
from tests.support.commands import SMALL, TINY, otgan, otgan_alone

NUMBERS = {"numpy", "scipy", "pyarrow", "PIL"}
COMPUTING = {"jax", "flax", "optax", "ott", "orbax", "tensorflow", "tensorflow_datasets"}
DRAWING = {"matplotlib", "plotly", "tensorboardX"}
SHOWING = {"rich", "pydantic"}
SEPARATOR = "--- modules ---"
EVERYTHING = NUMBERS | COMPUTING | DRAWING | SHOWING


def imported(words, ends=0):
    """What a command line says on its standard error, and which modules it has imported at its end.

    Args:
        words: of the command line.
        ends: with this exit code, and no traceback.
    """
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(SEPARATOR, *sys.modules, sep='\\n'))\n"
        "from otgan.cli import main\n"
        f"main.main({words!r}, 'otgan')\n"
    ).replace("SEPARATOR", repr(SEPARATOR))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == ends, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr, set(done.stdout.partition(SEPARATOR)[2].split())


@pytest.mark.parametrize(("words", "ends"), [(["--help"], 0), (["--version"], 0), ([], 2)])
def test_help_imports_no_command(words, ends):
    _, found = imported(words, ends)
    assert "otgan.cli.group" in found
    assert not found & (EVERYTHING | {f"otgan.cli.{listed.module}" for listed in COMMANDS.values()})


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
    said, found = imported(line.split(), ends=2)
    assert REFUSED[line] in said
    assert not found & EVERYTHING - SHOWING


def test_the_list_of_commands_says_what_they_say():
    load(COMMANDS)
    assert main.commands.keys() == COMMANDS.keys()
    for name, command in main.commands.items():
        stand_in = click.Command(name, help=COMMANDS[name].sentence)
        assert command.get_short_help_str(1_000) == stand_in.get_short_help_str(1_000)
        assert command.callback.__module__ == f"otgan.cli.{COMMANDS[name].module}"


def test_a_mistyped_command_is_told_the_nearest():
    said, _ = imported(["swep"], ends=2)
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


UNREADABLE = "Error reading persistent compilation cache entry for '{}': error: -5"


def without_programs():
    """The environment of a user who says nothing of what JAX keeps."""
    said = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")
    return {name: value for name, value in os.environ.items() if not name.startswith(said)}


def alone(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done


def compile_in(cache, **environment):
    """What a process prints that compiles a program: its result, and whether it was compiled
    before.
    """
    done = alone(COMPILING, **{**without_programs(), "OTGAN_CACHE": str(cache), **environment})
    assert "cache" not in done.stderr
    return done.stdout.split()


def test_what_was_compiled_is_kept_for_the_next_process(tmp_path):
    assert compile_in(tmp_path) == ["7.0", "False"]
    assert compile_in(tmp_path) == ["7.0", "True"]
    for program in (tmp_path / "programs").iterdir():
        program.write_bytes(program.read_bytes()[:-10])
    assert compile_in(tmp_path) == ["7.0", "False"]
    assert compile_in(tmp_path) == ["7.0", "True"]  # what was cut short is kept again


def test_one_that_is_damaged_takes_no_whole_one_along(tmp_path):
    compile_in(tmp_path)
    whole, *_ = (tmp_path / "programs").glob("*-cache")
    name = whole.name.rpartition("-cache")[0].rpartition("-")[0]
    (cut := whole.with_name(f"{name}-0123-cache")).write_bytes(whole.read_bytes()[:-10])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep_programs()
        with mock.patch.dict(os.environ, {PROGRAMS: str(tmp_path / "programs")}):
            warnings.warn(UNREADABLE.format(name), UserWarning, stacklevel=1)
    assert whole.exists()
    assert not cut.exists()


def test_every_warning_of_another_kind_is_shown():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        keep_programs()
        warnings.warn("of another kind", UserWarning, stacklevel=1)
        warnings.warn(UNREADABLE.format("jit_none"), UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["of another kind"]


def test_it_is_kept_where_the_environment_says(tmp_path):
    compile_in(tmp_path / "cache", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))
    assert not (tmp_path / "cache").exists()
    assert [*(tmp_path / "mine").iterdir()]


def test_nothing_is_kept_where_there_is_no_home(monkeypatch):
    for name in (PROGRAMS, "HOME", "OTGAN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", mock.Mock(side_effect=KeyError))
    done = otgan("list")
    assert (done.exit_code, done.exception) == (0, None)
    assert PROGRAMS not in os.environ


WORKING = """
import os, sys
from otgan.sweep import worker
worker.work = lambda *_: print(os.environ["JAX_COMPILATION_CACHE_DIR"], "jax" in sys.modules) or 0
sys.argv[1:] = ["nowhere"]
sys.exit(worker.main())
"""


def test_a_cell_keeps_programs_wherever_it_runs(tmp_path):
    """A host of a Ray cluster does not have the environment of the command."""
    done = alone(WORKING, **{**without_programs(), "OTGAN_CACHE": str(tmp_path)})
    assert done.stdout.split() == [str(tmp_path / "programs"), "False"]

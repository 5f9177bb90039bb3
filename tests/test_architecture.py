"""Imports point one way, the core does no I/O, and quick commands stay quick."""

import ast
import subprocess
import sys

import pytest

from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "otgan"

# Lowest first. A module may import modules of its own layer's folder and of lower layers.
LAYERS = [
    ("errors", "plain", "signals", "versions"),
    ("files", "plugins", "hosts"),
    ("cache", "named"),
    ("config",),
    ("measured",),
    ("budgets", "experiments", "places", "runs"),
    ("results",),
    ("data",),
    ("batches", "costs", "models", "optim", "layout"),
    ("suggest", "weights"),
    ("features",),
    ("groups",),
    ("sight",),
    ("problem",),
    ("oracles",),
    ("step",),
    ("system", "feeding"),
    ("loggers",),
    ("metrics", "pictures", "events", "checkpoints", "learning"),
    ("records", "restore"),
    ("sampling",),
    ("evaluation", "diagnosis", "dispatch"),
    ("assembly",),
    ("following",),
    ("loop",),
    ("launch", "console"),
    ("api", "sweep"),
    ("report", "doctor"),
    ("cli",),
    ("__main__",),
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
CORE = ("costs", "batches", "models", "problem", "oracles", "optim", "step")
IO = {
    "pathlib",
    "os",
    "io",
    "sys",
    "time",
    "json",
    "shutil",
    "subprocess",
    "logging",
    "orbax",
    "rich",
    "click",
    "PIL",
}


def modules():
    return sorted(
        path
        for path in PACKAGE.rglob("*.py")
        if "experiments" not in path.relative_to(PACKAGE).parts[:-1]
    )


def top(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported(path):
    """The modules that a file imports anywhere, inside functions too, but not those for types
    alone.
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name):
    """`data` of `otgan.data.strata`; None for others' modules and for names that are not
    modules.
    """
    parts = name.split(".")
    return parts[1] if parts[0] == "otgan" and len(parts) > 1 and parts[1] in RANK else None


def test_every_module_has_its_layer():
    assert {top(path) for path in modules()} - {"__init__"} == set(RANK)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = top(path)
    if here == "__init__":
        assert not [name for name in imported(path) if own(name)]
        return
    upward = [
        name
        for name in imported(path)
        if own(name) and own(name) != here and RANK[own(name)] >= RANK[here]
    ]
    assert not upward


@pytest.mark.parametrize(
    "path",
    [p for p in modules() if top(p) in CORE],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_the_core_does_no_io(path):
    assert not [name for name in imported(path) if name.split(".")[0] in IO]
    assert "print" not in {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def test_states_are_named_in_one_place():
    """Elsewhere a state is one of `RunState`.

    A summary's key `unjudged` and what is `unknown` of other things are no states.
    """
    words = {"finished", "failed", "diverged", "stopped", "interrupted", "running", "missing"}
    named = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in words
    }
    assert named == {"results/state.py"}


def test_what_a_run_came_to_is_read_without_jax():
    names = [f"otgan.results.{path.stem}" for path in modules() if top(path) == "results"]
    code = (
        f"import sys, {', '.join(names)}\nsys.exit(bool({{'jax', 'flax', 'rich', 'matplotlib'}} &"
        " set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_gradient_is_stopped_in_one_place():
    """Where a family hands over its solution.

    A cost may also stop the gradient of the offset that it takes out.
    """
    found = {
        str(path.relative_to(PACKAGE)): path.read_text().count("stop_gradient(")
        for path in modules()
    }
    assert {name: count for name, count in found.items() if count} == {"oracles/contract.py": 1}


QUICK = ["--help", "list", "show sinkhorn-grid", "run --help", "run sinkhorn-grid --dry-run"]
QUICK += [
    "eval --help",
    "sweep --help",
    "report --help",
    "diagnose --help",
    "features train --help",
]


@pytest.mark.parametrize("command", [words.split() for words in QUICK], ids=QUICK)
def test_quick_commands_import_no_jax(command):
    code = (
        f"import sys\nfrom otgan.cli import main\nmain.main({command!r},"
        " standalone_mode=False)\nslow = {'jax', 'flax', 'ott', 'orbax', 'matplotlib',"
        " 'tensorflow_datasets'} & set(sys.modules)\nsys.exit(f'imported {slow}' if slow else"
        " 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""What other packages add: docs/plugins.md, followed to the letter.

Packages that are broken, or use others' names.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from typing import Any

import numpy as np
import pytest

from otgan import experiments, named, plugins
from otgan.config import Config, Grid
from otgan.data import Dataset, load
from otgan.errors import UserError
from otgan.evaluation.measures import of_flag
from otgan.features import make_features
from otgan.plugins import Kind
from otgan.report.recipe import usual
from tests.support import REPOSITORY
from tests.support.commands import SMALL, otgan

DOCS = REPOSITORY / "docs"
BLOCK = re.compile(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", flags=re.M | re.S)


def installed(root, name, entry_points, files):
    """A package as `pip install` leaves it: its files, and what its metadata say."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    metadata = root / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in of.items())
        for group, of in entry_points.items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return root


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a package whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    before = set(sys.modules)
    yield lambda name, entry_points, files: installed(tmp_path / "site", name, entry_points, files)
    for module in set(sys.modules) - before:
        if module.startswith("other"):
            del sys.modules[module]
    plugins._found.cache_clear()


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture
def sliced(tmp_path):
    """The page's package; its family is the module of docs/extending.md, which imports its model
    from otgan there.
    """
    files = dict(BLOCK.findall((DOCS / "plugins.md").read_text()))
    module = dict(BLOCK.findall((DOCS / "extending.md").read_text()))["otgan/oracles/sliced.py"]
    assert module.count("from otgan.config.families import Sliced\n") == 1
    files["otgan_sliced/sliced.py"] = module.replace(
        "from otgan.config.families import Sliced\n", "from otgan_sliced import Sliced\n"
    )
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    return installed(tmp_path / "site", project["name"], project["entry-points"], files)


def otgan_with(root, *words, code="from otgan.cli import main; main()"):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-W", "error::UserWarning:pydantic", "-c", code, *map(str, words)]
    return subprocess.run(
        command, cwd=root.parent, capture_output=True, text=True, env=environment, check=False
    )


def test_the_pages_package_is_listed_run_and_resumed(sliced):
    listed = otgan_with(sliced, "list").stdout
    assert re.search(r"sliced-grid +Sliced Wasserstein distance", listed)
    origins = [
        line.split(maxsplit=2)
        for line in listed.partition("from elsewhere")[2].splitlines()
        if line.strip()
    ]
    assert [[name, kind, origin.strip()] for name, kind, origin in origins] == [
        ["sliced-grid", "experiment", "from otgan-sliced 1.0"],
        ["sliced", "family", "from otgan-sliced 1.0"],
    ]
    words = [*SMALL, "--set", "generator.width=8", "--set", "train.pictures=1", "--batch-size", 32]
    done = otgan_with(
        sliced,
        "run",
        "sliced-grid",
        *words,
        "--steps",
        3,
        "--set",
        "oracle.directions=7",
        "--out",
        "run",
        "--quiet",
    )
    assert done.returncode == 0, done.stderr
    assert "last window's largest squared W2 along a direction" in done.stdout
    config = json.loads((sliced.parent / "run/config.json").read_text())
    assert config["oracle"] == {"on_budget": "accept", "family": "sliced", "directions": 7}
    assert json.loads((sliced.parent / "run/status.json").read_text())["step"] == 3
    planned = otgan_with(
        sliced, "sweep", "sliced-grid", "--set", "oracle.directions=2,4", "--dry-run"
    )
    assert "directions=4 seed=0" in planned.stdout
    again = otgan_with(sliced, "run", "run", "--quiet")
    assert again.returncode == 0, again.stderr


def test_quick_commands_import_no_jax_for_a_package(sliced):
    code = (
        "import sys; from otgan.cli import main; main.main(sys.argv[1:], standalone_mode=False);"
        " sys.exit('jax' in sys.modules)"
    )
    for words in (["list"], ["run", "sliced-grid", "--dry-run"], ["show", "sliced-grid"]):
        done = otgan_with(sliced, *words, code=code)
        assert done.returncode == 0, done.stderr
    code = (
        "import sys; from otgan.cli import main; main.main(['list'], standalone_mode=False);"
        " sys.exit('otgan_sliced.sliced' in sys.modules)"
    )
    assert otgan_with(sliced, code=code).returncode == 0


def test_mistakes_in_a_packages_table_are_told_as_others_are(sliced):
    for assignment, sentence in {
        "oracle.direction=3": "unknown key oracle.direction; did you mean oracle.directions or",
        "oracle.directions=0": (
            "oracle.directions: it should be greater than or equal to 1 (given: 0)"
        ),
        "cost.name=l1": "family 'sliced' serves the cost 'squared_l2'; the cost 'l1' is served by",
    }.items():
        done = otgan_with(sliced, "run", "sliced-grid", "--set", assignment)
        assert done.returncode == 2
        assert sentence in done.stderr
    assert "did you mean sliced-grid" in otgan_with(sliced, "run", "sliced-grd").stderr


# --- the other kinds ------------------------------------------------------------------------------

DATA = """
import numpy as np
from typing import Literal
from otgan.config import Section
from otgan.plugins import DataPlugin

class Ring(Section):
    kind: Literal["ring"] = "ring"
    radius: float = 1.0

def load(config, data_dir):
    from otgan.data import Dataset
    angles = np.linspace(0, 6, 400, dtype=np.float32)
    circle = config.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Dataset("ring", circle[::2], circle[1::2])

RING = DataPlugin("ring", Ring, load)
"""


def test_a_data_set_of_a_package(package):
    package("other-data", {"otgan.data": {"ring": "other_data:RING"}}, {"other_data.py": DATA})
    config = experiments.resolve("sinkhorn-grid", {"data": {"kind": "ring", "radius": 2.0}})
    assert type(config.data).__name__ == "Ring"
    assert json.loads(config.json())["data"] == {"kind": "ring", "radius": 2.0}
    assert Config.model_validate(json.loads(config.json())) == config
    dataset = load(config.data)
    assert isinstance(dataset, Dataset)
    np.testing.assert_allclose(np.linalg.norm(dataset.train, axis=1), 2.0, rtol=1e-5)
    with pytest.raises(UserError, match=r"unknown key data.radios; did you mean data.radius"):
        experiments.resolve("sinkhorn-grid", {"data": {"kind": "ring", "radios": 2.0}})


MEASURE = """
from dataclasses import replace
from otgan.evaluation.measures import MEASURES
(sliced,) = [measure for measure in MEASURES if measure.names == ["sliced_w2"]]
MINE = replace(sliced, flag="mine")
OTHERS = replace(sliced, flag="others")
"""


def test_a_measure_of_a_package(package, tmp_path):
    entries = {"mine": "other_measure:MINE", "yours": "other_measure:OTHERS"}
    package("other-measure", {"otgan.measures": entries}, {"other_measure.py": MEASURE})
    assert [measure.flag for measure in of_flag("mine")] == ["mine"]
    with pytest.raises(
        UserError,
        match=r"the measure 'yours' of other-measure 1.0 cannot be used .* with flag 'yours'",
    ):
        of_flag("yours")
    assert experiments.resolve(
        "sinkhorn-grid", {"train.eval_measures": ["fid", "mine"]}
    ).train.eval_measures == ("fid", "mine")
    with pytest.raises(UserError, match="it should be 'fid'"):
        experiments.resolve("sinkhorn-grid", {"train.eval_measures": ["theirs"]})
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", rng.normal(size=(400, 2)))
    done = otgan(
        "eval",
        tmp_path / "a.npz",
        "--reference",
        tmp_path / "b.npz",
        "--measure",
        "mine",
        "--samples",
        40,
    )
    assert done.exit_code == 0, done.output
    assert "sliced_w2" in done.output
    refused = otgan("eval", tmp_path / "a.npz", "--measure", "theirs")
    assert "'theirs' is not one of" in refused.output
    planned = otgan(
        "sweep",
        "sinkhorn-grid",
        "--lam",
        "1",
        "--eval",
        "mine,fid",
        "--out",
        tmp_path / "s",
        "--dry-run",
    )
    assert planned.exit_code == 0, planned.output


FEATURES = """
from dataclasses import replace
from otgan.plugins import FeaturesPlugin

def make(shape):
    from otgan.features import find_network
    return replace(find_network("random", shape), name="mine")

MINE = FeaturesPlugin("mine", make)
"""


def test_a_feature_network_of_a_package(package):
    package(
        "other-features",
        {"otgan.features": {"mine": "other_features:MINE"}},
        {"other_features.py": FEATURES},
    )
    features = make_features("mine", (28, 28, 1))
    assert features.names("fid") == "fid[mine]"
    found, _ = features.look(np.zeros((3, 28, 28, 1), np.uint8))
    assert found.shape == (3, features.dimension)
    assert (
        experiments.resolve("sinkhorn-mnist", {"cost.features": "mine:all"}).cost.network == "mine"
    )


# --- what goes wrong ------------------------------------------------------------------------------

BROKEN = {
    "other_broken/__init__.py": "raise ImportError('no module named torch')\n",
    "other_broken/experiments/broken-grid.toml": (
        'extends = "sinkhorn-grid"\n[oracle]\nfamily = "broken"\n'
    ),
    "other_broken/experiments/sound-grid.toml": 'extends = "sinkhorn-grid"\n',
}
BREAKS = {
    "otgan.families": {"broken": "other_broken:FAMILY"},
    "otgan.experiments": {"broken": "other_broken.experiments"},
}
SENTENCE = (
    "the family 'broken' of other-broken 1.0 cannot be used (ImportError: no module named torch):"
    " mend or uninstall it"
)


def test_a_package_that_cannot_be_imported_is_named_where_it_is_asked_for(package):
    package("other-broken", BREAKS, BROKEN)
    listed = otgan("list")
    assert listed.exit_code == 0
    assert "sinkhorn-grid" in listed.output
    assert "sound-grid" in listed.output  # a package's experiments are found without importing it
    assert f"broken-grid.toml: {SENTENCE}" in listed.stderr
    assert otgan("run", "sinkhorn-grid", "--dry-run").exit_code == 0
    assert otgan("run", "sound-grid", "--dry-run").exit_code == 0
    for words in (
        ["run", "broken-grid"],
        ["run", "sinkhorn-grid", "--set", 'oracle={family="broken"}'],
    ):
        done = otgan(*words, "--dry-run")
        assert done.exit_code == 2
        assert done.output == f"Error: {SENTENCE}\n"


NONSENSE = "from otgan.config import Critic, Section\nfrom otgan.plugins import FamilyPlugin\n"
NONSENSE += (
    "CRITIC = FamilyPlugin('odd', Critic, print)\nTABLE = FamilyPlugin('odd', Section,"
    " print)\nNOTHING = 3\n"
)


@pytest.mark.parametrize("given", ["CRITIC", "TABLE", "NOTHING"])
def test_what_is_no_family_is_refused(package, given):
    package(
        "other-odd", {"otgan.families": {"odd": f"other_odd:{given}"}}, {"other_odd.py": NONSENSE}
    )
    with pytest.raises(
        UserError,
        match=(
            r"the family 'odd' of other-odd 1.0 cannot be used \(its config must be a subclass of"
            r" Oracle"
        ),
    ):
        experiments.resolve("sinkhorn-grid", {"oracle": {"family": "odd"}})


def test_names_of_our_own_are_no_packages_and_no_name_is_of_two(package):
    families = {"regularized": "other_one:FAMILY", "both": "other_one:FAMILY"}
    package(
        "other-one",
        {"otgan.families": families, "otgan.data": {"grid": "other_one:GRID"}},
        {"other_one.py": "1 / 0\n"},
    )
    package("other-two", {"otgan.families": {"both": "other_two:FAMILY"}}, {"other_two.py": ""})
    config = experiments.resolve("sinkhorn-grid")
    assert type(config.oracle).__module__ == "otgan.config.families"
    assert type(config.data) is Grid
    with pytest.raises(
        UserError,
        match=(
            r"the family 'both' is given by other-one 1.0 and other-two 1.0: uninstall all but one"
        ),
    ):
        experiments.resolve("sinkhorn-grid", {"oracle": {"family": "both"}})
    said = otgan("list").stderr
    assert (
        "the family 'regularized' of other-one 1.0 is not used: otgan has one of that name" in said
    )
    assert "the data set 'grid' of other-one 1.0 is not used" in said
    assert "the family 'both' is given by other-one 1.0 and other-two 1.0" in said


def test_a_family_that_nobody_has_is_refused_with_the_ones_that_there_are():
    done = otgan("run", "sinkhorn-grid", "--set", "oracle.family=slicd", "--dry-run")
    assert done.exit_code == 2
    assert "'slicd'" in done.output
    with pytest.raises(UserError, match="no installed package has a family 'slicd'"):
        plugins.load(Kind.FAMILY, "slicd")


# --- folders of experiments -----------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv(
        named.VARIABLE,
        os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "gone"), ""]),
    )
    (tmp_path / "a/mine.toml").write_text(
        'extends = "sinkhorn-grid"\n[card]\ntitle = "my own"\n[oracle]\nlam = "0.1x"\n'
    )
    (tmp_path / "b/wider.toml").write_text('extends = "mine"\n[generator]\nwidth = 64\n')
    return tmp_path


def test_experiments_in_folders_have_names(folders, elsewhere):
    config: Any = experiments.resolve("wider")
    assert (config.name, str(config.oracle.lam), config.generator.width) == ("wider", "0.1x", 64)
    listed = otgan("list")
    assert re.search(r"mine +my own", listed.output)
    assert f"mineexperimentfrom{folders / 'a'}" in "".join(listed.output.split())
    assert f"{folders / 'gone'}, on OTGAN_EXPERIMENTS, is no folder" in listed.stderr
    assert "did you mean mine" in otgan("run", "mne").output
    assert otgan("run", "mine", "--dry-run").exit_code == 0
    planned = otgan("sweep", "mine", "--lam", "1", "--dry-run")
    assert "1 of 1 cells would run, in sweeps/mine" in planned.output


def test_experiments_of_one_name_are_told_apart_by_their_paths(folders):
    (folders / "a/sinkhorn-grid.toml").write_text('extends = "regot-grid"\n')
    (folders / "b/mine.toml").write_text('extends = "regot-grid"\n')
    own, mine = (
        experiments.resolve(name) for name in ("sinkhorn-grid", str(folders / "b/mine.toml"))
    )
    assert [config.oracle.model_dump()["loss"] for config in (own, mine)] == ["sinkhorn", "regot"]
    both = f"{folders / 'a/mine.toml'} and {folders / 'b/mine.toml'}"
    twice = f"the experiment 'mine' is there twice, in {both}: rename one, or give its path"
    done = otgan("run", "mine", "--dry-run")
    assert (done.exit_code, done.output) == (2, f"Error: {twice}\n")
    assert usual("mine") is None  # a report goes on
    said = otgan("list").stderr
    assert said.splitlines().count(twice) == 1
    assert (
        f"{folders / 'a/sinkhorn-grid.toml'} is not used: otgan has an experiment of that name;"
        " rename it" in said
    )

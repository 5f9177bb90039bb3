"""What is installed is what is here: the wheel carries the experiments and the sample, and works
from any folder.
"""

import os
import subprocess
import sys
import venv
import zipfile

import pytest

from tests.support import REPOSITORY

RUN = [
    "run",
    "sinkhorn-mnist",
    "--data",
    "sample",
    "--steps",
    "2",
    "--batch-size",
    "16",
    "--set",
    "generator.width=4",
    "--quiet",
]


def call(words, **settings):
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **settings
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    call([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, REPOSITORY])
    return next(out.glob("*.whl"))


def test_the_wheel_carries_every_experiment_and_the_sample(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {
        f"otgan/experiments/{path.name}" for path in (REPOSITORY / "experiments").glob("*.toml")
    } <= held
    assert "otgan/data/mnist_sample.npz" in held
    assert not [name for name in held if name.startswith(("tests", "scripts"))]
    judges = [
        info.compress_size
        for info in zipfile.ZipFile(wheel).infolist()
        if info.filename.endswith("-allconv.safetensors")
    ]
    assert max(judges) < 3e6
    assert wheel.stat().st_size - sum(judges) < 3e6


def test_the_wheel_lists_and_runs_from_another_folder(wheel, tmp_path):
    """Its own code and experiments, on the dependencies that are here."""
    call(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--no-compile",
            "--quiet",
            "--target",
            tmp_path / "site",
            wheel,
        ]
    )
    settings = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(tmp_path / "site")}}
    where = call([sys.executable, "-c", "import otgan; print(otgan.__file__)"], **settings)
    assert where.startswith(str(tmp_path / "site"))
    assert "sinkhorn-cifar10" in call([sys.executable, "-m", "otgan", "list"], **settings)
    assert "summary of sinkhorn-mnist" in call([sys.executable, "-m", "otgan", *RUN], **settings)
    assert len(list((tmp_path / "runs").iterdir())) == 1


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel, tmp_path):
    """With what its own metadata declare and nothing else."""
    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / "bin"
    call(
        [
            binaries / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--constraint",
            REPOSITORY / "constraints.txt",
            wheel,
        ]
    )
    settings = {"cwd": tmp_path, "env": {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}}
    assert "sinkhorn-cifar10" in call([binaries / "otgan", "list"], **settings)
    assert "summary of sinkhorn-mnist" in call([binaries / "otgan", *RUN], **settings)

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # zoo, helpers

COMPILED = tempfile.TemporaryDirectory(prefix="otgan-tests-")  # most tests compile programs that others, or they themselves, compiled
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", COMPILED.name)  # set by the first process, inherited by workers and commands
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")

REPOSITORY = Path(__file__).resolve().parents[1]


def prepared_data_dir() -> Path | None:
    """The TFDS folder that the machine offers to tests: TFDS_DATA_DIR, else ../shared/data/tfds beside the repository."""
    candidates = [os.environ.get("TFDS_DATA_DIR"), REPOSITORY.parent / "shared/data/tfds"]
    return next((Path(path).resolve() for path in candidates if path and Path(path).is_dir()), None)


PREPARED = prepared_data_dir()  # looked up before any test changes the environment


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    if PREPARED is None:
        pytest.skip("no prepared data: set TFDS_DATA_DIR to a folder that holds mnist and cifar10")
    return PREPARED


@pytest.fixture
def x64():
    import jax

    with jax.enable_x64(True):
        yield

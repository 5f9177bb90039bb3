import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # zoo, helpers

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

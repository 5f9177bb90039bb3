import os
from pathlib import Path

import pytest
from tiny import write_tiny

from otgan.data import prepared

REPOSITORY = Path(__file__).resolve().parents[2]


def prepared_data_dir() -> Path | None:
    """The TFDS folder that the machine offers to tests: TFDS_DATA_DIR, else ../shared/data/tfds beside the repository."""
    candidates = [os.environ.get("TFDS_DATA_DIR"), REPOSITORY.parent / "shared/data/tfds"]
    return next((Path(path) for path in candidates if path and Path(path).is_dir()), None)


PREPARED = prepared_data_dir()  # looked up before any test changes the environment


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    if PREPARED is None:
        pytest.skip("no prepared data: set TFDS_DATA_DIR to a folder that holds mnist and cifar10")
    return PREPARED


@pytest.fixture(scope="session")
def mnist(tfds_dir):
    """MNIST, decoded once for the whole session (it takes seconds)."""
    path = prepared.find("mnist", tfds_dir)
    if path is None:
        pytest.skip(f"{tfds_dir} holds no mnist")
    return prepared.decode(path)


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


@pytest.fixture
def tiny(tmp_path):
    """A TFDS folder with a made-up `mnist/3.0.1` of 120 + 30 pictures, and what it must read as."""
    return write_tiny(tmp_path / "tfds")

import pytest

from otgan import places
from otgan.data import prepared
from tests.support.tiny import write_tiny


@pytest.fixture(scope="session")
def mnist(tfds_dir):
    """MNIST, decoded once for the whole session (it takes seconds)."""
    path = places.find("mnist", tfds_dir)
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

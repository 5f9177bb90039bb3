import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests.support import typed

# before anything imports otgan: types and shapes are checked at every call
install_import_hook("otgan", f"{typed.__name__}.check")

# a job that a shell began in the background ignores Ctrl-C, and so would all that tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# most tests compile programs that were compiled before; workers and commands inherit it
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="otgan-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")

PREPARED = os.environ.get("TFDS_DATA_DIR")  # looked up before any test changes the environment


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    if not PREPARED or not Path(PREPARED).is_dir():
        pytest.skip("no prepared data: set TFDS_DATA_DIR to a folder that holds mnist and cifar10")
    return Path(PREPARED).resolve()


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """A process has room for so many compiled programs only, and all tests together make more.

    What comes again is read from the cache.
    """
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def x64():
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder to work in, with no data prepared."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))

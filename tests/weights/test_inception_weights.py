"""Conversion, import and the cache, with seeded random weights in the place of the published
ones.
"""

import hashlib
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from otgan.errors import UserError
from otgan.files import LOCK
from otgan.weights import inception, store
from otgan.weights.download import download
from tests.support import REPOSITORY
from tests.support.compared import script
from tests.support.saved import save


@pytest.fixture(scope="module")
def state():
    return script.random_state(1)


@pytest.fixture(scope="module")
def published(state, tmp_path_factory):
    """The state as a file such as PyTorch saves, in a folder of its own."""
    path = tmp_path_factory.mktemp("published") / "weights.pth"
    save(path, state)
    return path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(folder):
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    return [name for name in names if name != LOCK]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server(published):
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=published.parent)
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for layer, arrays in expected.items():
        assert found[layer].keys() == arrays.keys()
        for name, value in arrays.items():
            np.testing.assert_array_equal(found[layer][name], value)


def test_folding_is_batch_normalization(state):
    """A 1 x 1 convolution of random pixels, then the definition of batch normalization, in
    float64.
    """
    layer = "Mixed_5b.branch1x1"
    weight, scale, shift, mean, variance = (
        state[f"{layer}.{part}"].astype(float)
        for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    )
    pixels = np.random.default_rng(0).standard_normal((10, weight.shape[1]))
    expected = (pixels @ weight[:, :, 0, 0].T - mean) / np.sqrt(variance + 1e-3) * scale + shift
    folded = inception.convert(state)[layer]
    np.testing.assert_allclose(
        pixels @ folded["kernel"][0, 0] + folded["bias"], expected, rtol=1e-5, atol=1e-6
    )


def test_kernels_keep_their_axes(state):
    """A row of 7 stays a row: (out, in, 1, 7) becomes (1, 7, in, out)."""
    name = "Mixed_6b.branch7x7_2"
    kernel = inception.convert(state)[name]["kernel"]
    factor = state[f"{name}.bn.weight"] / np.sqrt(state[f"{name}.bn.running_var"] + 1e-3)
    assert kernel.shape == (1, 7, 128, 128)
    np.testing.assert_allclose(
        kernel[0, 6, 5, 3], state[f"{name}.conv.weight"][3, 5, 0, 6] * factor[3], rtol=1e-6
    )


def test_arrays_that_do_not_fit_are_named(state):
    counters = {"Conv2d_1a_3x3.bn.num_batches_tracked": np.array(0)}
    assert_equal(inception.convert(state | counters), inception.convert(state))
    lacking = {
        name: value
        for name, value in state.items()
        if not name.startswith(("fc.", "Mixed_7c.branch1x1.conv", "Mixed_7c.branch1x1.bn.b"))
    }
    with pytest.raises(
        UserError,
        match=(
            r"lack Mixed_7c\.branch1x1\.bn\.bias, Mixed_7c\.branch1x1\.conv\.weight, fc\.bias and 1"
            r" more"
        ),
    ):
        inception.convert(lacking)
    with pytest.raises(UserError, match=r"have besides AuxLogits\.fc\.weight"):
        inception.convert(state | {"AuxLogits.fc.weight": np.zeros((1008, 768))})
    # torchvision's own network has 1,000 classes
    with pytest.raises(UserError, match=r"have in another shape fc\.weight"):
        inception.convert(state | {"fc.weight": np.zeros((1000, 2048))})


def test_import_writes_the_same_file_every_time(state, published, tmp_path):
    first = inception.import_file(
        published, tmp_path / "new" / "a.safetensors", digest=digest(published)
    )
    assert_equal(first.parameters, inception.convert(state))
    assert first.facts == {"network": "inception", "source_sha256": digest(published)}
    assert (
        inception.import_file(published, tmp_path / "b.safetensors", digest=None).digest
        == first.digest
    )


def test_equal_contents_give_equal_files(tmp_path):
    """Safetensors alone writes more than one fact in any order."""
    facts = dict.fromkeys("abcdef", "x")
    for i in range(8):
        store.write(
            tmp_path / f"{i}.safetensors",
            {"layer": {"kernel": np.ones(3), "bias": np.zeros(2)}},
            facts,
        )
    found = [store.read(path) for path in tmp_path.iterdir()]
    assert len({weights.digest for weights in found}) == 1
    assert found[0].facts == facts


def test_import_refuses_another_file(published, tmp_path):
    out = tmp_path / "out.safetensors"
    with pytest.raises(UserError, match=f"begins with {digest(published)[:8]}, not 6726825d"):
        inception.import_file(published, out)
    with pytest.raises(UserError, match="cannot be read"):
        inception.import_file(tmp_path / "nowhere.pth", out)
    with pytest.raises(UserError, match="lack"):
        inception.import_file(REPOSITORY / "tests/fixtures/state_zip.pth", out, digest=None)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        inception.import_file(published, tmp_path / "file" / "out.safetensors", digest=None)
    assert files(tmp_path) == ["file"]


def test_find_downloads_once(state, published, server, tmp_path):
    cache, shown = tmp_path / "cache", []
    address = f"{server}/weights.pth"
    found = inception.find(
        cache,
        show=lambda *progress: shown.append(progress),
        address=address,
        digest=digest(published),
    )
    assert_equal(found.parameters, inception.convert(state))
    assert files(cache) == [inception.cached(cache).name]
    assert shown[-1] == (published.stat().st_size, published.stat().st_size)
    again = inception.find(cache, download=False)
    assert (again.digest, again.facts) == (found.digest, found.facts)
    inception.cached(cache).write_bytes(inception.cached(cache).read_bytes()[:-1])
    mended = inception.find(cache, address=address, digest=digest(published))
    assert mended.digest == found.digest


def test_two_at_once_download_once(published, server, tmp_path, monkeypatch):
    calls = []

    def slow(*words):
        calls.append(words)
        time.sleep(0.5)
        return download(*words)

    monkeypatch.setattr("otgan.weights.published.download", slow)
    find = partial(
        inception.find,
        tmp_path / "cache",
        address=f"{server}/weights.pth",
        digest=digest(published),
    )
    with ThreadPoolExecutor(2) as pool:
        first, second = (job.result() for job in [pool.submit(find), pool.submit(find)])
    assert first.digest == second.digest
    assert len(calls) == 1


def test_find_caches_nothing_but_the_right_file(published, server, tmp_path):
    with pytest.raises(UserError, match=r"begins with .*give it with `otgan weights import FILE`"):
        inception.find(tmp_path, address=f"{server}/weights.pth")
    with pytest.raises(UserError, match=r"answers 404 .*otgan weights import FILE"):
        inception.find(tmp_path, address=f"{server}/other.pth")
    shutil.copy(REPOSITORY / "tests/fixtures/state_zip.pth", published.parent)
    with pytest.raises(UserError, match="lack"):
        inception.find(
            tmp_path,
            address=f"{server}/state_zip.pth",
            digest=digest(published.parent / "state_zip.pth"),
        )
    assert files(tmp_path) == []


def test_find_without_a_network(tmp_path):
    with pytest.raises(UserError, match=r"not in .*otgan weights import FILE"):
        inception.find(tmp_path / "cache", download=False)
    with pytest.raises(UserError, match=r"no connection .*otgan weights import FILE"):
        inception.find(tmp_path / "cache", address="http://127.0.0.1:9/weights.pth")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be downloaded .*otgan weights import FILE"):
        inception.find(tmp_path / "file")
    assert files(tmp_path / "cache") == []

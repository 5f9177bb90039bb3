import gzip
import hashlib
import importlib.util
import socket
import time
from types import SimpleNamespace

import numpy as np
import pytest

import otgan.data.prepare as preparing
from otgan.data import catalog, prepared
from otgan.errors import UserError

MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


# --- list -----------------------------------------------------------------------------------------


def test_the_list_says_what_is_there(tiny):
    entries = {entry.name: entry for entry in catalog.listing(tiny.data_dir)}
    assert list(entries) == ["grid", "sample", "mnist", "cifar10", "stacked-mnist", "own"]
    assert {name for name, entry in entries.items() if not entry.present} == {"cifar10"}
    assert (entries["mnist"].version, entries["mnist"].place) == ("3.0.1", str(tiny.folder))
    assert (entries["cifar10"].version, entries["cifar10"].place) == (None, str(tiny.data_dir))


def test_without_mnist_its_stacks_are_missing_too(tmp_path):
    assert [entry.name for entry in catalog.listing(tmp_path) if not entry.present] == [
        "mnist",
        "cifar10",
        "stacked-mnist",
    ]


# --- verify ---------------------------------------------------------------------------------------


@pytest.mark.tfds
def test_mnist_is_the_original(mnist, tfds_dir, monkeypatch):
    monkeypatch.setattr(prepared, "decode", lambda _: mnist)
    found = catalog.verify("mnist", tfds_dir)
    assert found.problems == []
    assert found.facts[-1].endswith(": bit for bit the original")
    shuffled = np.random.default_rng(0).permutation(60_000)
    rearranged = prepared.Prepared(
        mnist.train[shuffled], mnist.train_labels[shuffled], mnist.test, mnist.test_labels
    )
    assert catalog.content(rearranged) == catalog.content(mnist)
    changed = mnist.train.copy()
    changed[0, 0, 0, 0] ^= 1
    assert catalog.content(
        prepared.Prepared(changed, mnist.train_labels, mnist.test, mnist.test_labels)
    ) != catalog.content(mnist)


def test_what_differs_from_the_original_is_said(tiny):
    found = catalog.verify("mnist", tiny.data_dir)
    assert ": not bit for bit the original" in found.facts[-1]
    assert "train holds 120 pictures, the original 60,000" in found.problems
    assert any(problem.startswith("test holds (") for problem in found.problems)


def test_wrong_shapes_and_blank_pictures_are_problems():
    images, labels = np.zeros((3, 4, 4, 1), np.uint8), np.zeros(3, np.uint8)
    assert catalog._problems("train", images, labels, (28, 28, 1), (3,)) == [
        "train holds pictures of shape (4, 4, 1), the original (28, 28, 1)",
        "train holds 3 pictures of a single color",
    ]


def test_only_what_is_prepared_can_be_verified(tmp_path):
    with pytest.raises(UserError, match="CIFAR-10 is not prepared in"):
        catalog.verify("cifar10", tmp_path)
    with pytest.raises(UserError, match="nothing to prepare for 'grid': choose mnist or cifar10"):
        catalog.verify("grid", tmp_path)


# --- prepare --------------------------------------------------------------------------------------


@pytest.fixture
def with_tensorflow(monkeypatch):
    """Pretend that TensorFlow is installed; what would use it is replaced by the test."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: name == "tensorflow" or found(name, *rest)
    )


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Four files, registered as if they were MNIST's."""
    folder = tmp_path / "archive"
    folder.mkdir()
    infos = {}
    for name in MNIST_FILES:
        content = gzip.compress(name.encode())
        (folder / name).write_bytes(content)
        infos[f"https://host.invalid/{name}"] = SimpleNamespace(
            filename=name, size=len(content), checksum=hashlib.sha256(content).hexdigest()
        )
    monkeypatch.setattr(preparing, "registry", lambda _: infos)
    return folder


def test_what_is_prepared_is_left_alone(tiny, monkeypatch):
    monkeypatch.setattr(preparing, "_build", lambda *_: pytest.fail("built again"))
    assert catalog.prepare("mnist", tiny.data_dir) == tiny.folder


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing to prepare for 'sample': choose mnist or cifar10"):
        catalog.prepare("sample", tmp_path)


def test_without_tensorflow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'otgan\[tfds\]'"):
        catalog.prepare("mnist", tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("with_tensorflow")
def test_a_dead_network_is_said_within_seconds(tmp_path, monkeypatch):
    def dead(*_, **__):
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", dead)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"storage\.googleapis\.com does not answer .* `--from`"):
        catalog.prepare("mnist", tmp_path / "data")
    assert time.monotonic() - start < 8
    assert not (tmp_path / "data").exists()


def test_the_registry_knows_the_published_archives():
    """Sizes in bytes as the authors' pages state them, and SHA-256 of CIFAR-10's binary version."""
    assert sorted(int(info.size) for info in preparing.registry("mnist").values()) == [
        4542,
        28881,
        1648877,
        9912422,
    ]
    (cifar,) = preparing.registry("cifar10").values()
    assert (cifar.filename, int(cifar.size)) == ("cifar-10-binary.tar.gz", 170_052_171)


@pytest.mark.usefixtures("with_tensorflow")
def test_a_right_archive_reaches_tfds_under_the_registered_names(archive, tmp_path, monkeypatch):
    built = {}

    def build(name, home, work, files):
        built.update(files)
        (home / name / "3.0.1").mkdir(parents=True)
        (home / name / "3.0.1" / "dataset_info.json").write_text("{}")

    monkeypatch.setattr(preparing, "_build", build)
    monkeypatch.setattr(
        preparing, "_require_network", lambda *_: pytest.fail("the network was asked")
    )
    assert (
        catalog.prepare("mnist", tmp_path / "data", archive)
        == tmp_path / "data" / "mnist" / "3.0.1"
    )
    assert built == {name: archive / name for name in MNIST_FILES}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mnist"]


def change(file):
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])


WRONG = {
    "changed": (change, "has SHA-256 [0-9a-f]{64}, but TFDS expects [0-9a-f]{64}"),
    "longer": (
        lambda file: file.write_bytes(file.read_bytes() + b"x"),
        r"has \d+ bytes, but TFDS expects \d+",
    ),
    "missing": (
        lambda file: file.unlink(),
        "lacks train-labels-idx1-ubyte.gz: download it from https://host.invalid",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_archive_is_refused_before_anything_is_written(archive, tmp_path, spoil, message):
    spoil(archive / MNIST_FILES[1])
    with pytest.raises(UserError, match=message):
        catalog.prepare("mnist", tmp_path / "data", archive)
    assert not (tmp_path / "data").exists()


def test_one_file_of_four_or_none_is_refused(archive, tmp_path):
    with pytest.raises(
        UserError, match="is one file, but 4 are needed: give the folder that holds train-images"
    ):
        catalog.prepare("mnist", tmp_path / "data", archive / MNIST_FILES[0])
    with pytest.raises(UserError, match="nowhere does not exist"):
        catalog.prepare("mnist", tmp_path / "data", tmp_path / "nowhere")


def test_a_single_archive_may_have_any_name(tmp_path, monkeypatch):
    file = tmp_path / "cifar (1).tar.gz"
    file.write_bytes(b"content")
    info = SimpleNamespace(
        filename="cifar-10-binary.tar.gz", size=7, checksum=hashlib.sha256(b"content").hexdigest()
    )
    assert preparing._matching({"https://host.invalid/a": info}, file) == {
        "cifar-10-binary.tar.gz": file
    }


@pytest.mark.usefixtures("with_tensorflow")
def test_a_failure_of_tfds_is_a_sentence_and_leaves_nothing(archive, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("No space left on device\nand much more")

    monkeypatch.setattr(preparing, "_build", fail)
    with pytest.raises(
        UserError, match=r"TFDS could not prepare mnist in .* \(No space left on device\)"
    ):
        catalog.prepare("mnist", tmp_path / "data", archive)
    assert list((tmp_path / "data").iterdir()) == []

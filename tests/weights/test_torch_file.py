"""Files that PyTorch 2.13 saved, in both forms, and files that nobody should open.

a = torch.arange(24.0).reshape(4, 6)
state = OrderedDict(a=a, t=a.t(), part=a[1:3, 2:5], s=torch.tensor(7),
    h=torch.ones(3, dtype=torch.float16) * 1.5,
    b=torch.tensor([1.5, -2, 3e38], dtype=torch.bfloat16),
    d=torch.tensor([1e-300], dtype=torch.float64), e=torch.zeros(0, 3),
    p=torch.nn.Parameter(torch.ones(2) * 2), i=torch.arange(3, dtype=torch.int32),
    z=torch.ones(1).expand(5))
state._metadata = OrderedDict(version=1)
torch.save(state, "state_zip.pth")
torch.save(state, "state_legacy.pth", _use_new_zipfile_serialization=False)

weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
optimizer = torch.optim.SGD([weight], lr=0.03, momentum=0.9, weight_decay=1e-4)
(weight**2).sum().backward()
optimizer.step()
state = OrderedDict({"module.encoder_q.conv1.weight": torch.arange(6.0).reshape(2, 3)})
state["module.queue_ptr"] = torch.zeros(1, dtype=torch.long)
state._metadata = OrderedDict(version=1)
checkpoint = {"epoch": 200, "arch": "resnet50", "state_dict": state,
    "optimizer": optimizer.state_dict()}
torch.save(checkpoint, "checkpoint_zip.pth")
torch.save(checkpoint, "checkpoint_legacy.pth", _use_new_zipfile_serialization=False)
"""

import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from otgan.errors import UserError
from otgan.weights import torch_file
from tests.support import REPOSITORY

FIXTURES = REPOSITORY / "tests/fixtures"
FORMS = [FIXTURES / "state_zip.pth", FIXTURES / "state_legacy.pth"]
CHECKPOINTS = [FIXTURES / "checkpoint_zip.pth", FIXTURES / "checkpoint_legacy.pth"]
A = np.arange(24, dtype=np.float32).reshape(4, 6)
STATE = {
    "a": A,
    "t": A.T,
    "part": A[1:3, 2:5],
    "s": np.array(7),
    "h": np.full(3, 1.5, np.float16),
    "b": np.array([1.5, -2, 3e38], ml_dtypes.bfloat16),
    "d": np.array([1e-300]),
    "e": np.zeros((0, 3), np.float32),
    "p": np.full(2, 2, np.float32),
    "i": np.arange(3, dtype=np.int32),
    "z": np.ones(5, np.float32),
}


def assert_state(found):
    assert list(found) == list(STATE)
    for name, expected in STATE.items():
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found[name], expected)


def rezip(target, change=None, **options):
    """The zip form again, with entries changed by a function of (name inside, bytes)."""
    with zipfile.ZipFile(FORMS[0]) as old, zipfile.ZipFile(target, "w", **options) as new:
        for name in old.namelist():
            inside = name.removeprefix("new/")
            new.writestr(
                f"state/{inside}", change(inside, old.read(name)) if change else old.read(name)
            )
    return target


def legacy(target, state_pickle):
    """The legacy form's first three pickles, then the one given."""
    head = b"".join(
        pickle.dumps(part, 2)
        for part in (torch_file.MAGIC, torch_file.LEGACY_VERSION, {"little_endian": True})
    )
    target.write_bytes(head + state_pickle)
    return target


def zipped(target, state_pickle):
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("state/data.pkl", state_pickle)
    return target


@pytest.mark.parametrize("path", FORMS, ids=["zip", "legacy"])
def test_reads_what_pytorch_saved(path):
    found = torch_file.read(path)
    assert_state(found)
    assert np.shares_memory(found["a"], found["part"])
    assert not any(value.flags.writeable for value in found.values())


def test_reads_what_a_big_endian_machine_saved(tmp_path):
    storages = "ashbdepiz"  # whose first is a's, t's and part's

    def swapped(name, content):
        if name == "byteorder":
            return b"big"
        if not name.startswith("data/"):
            return content
        size = STATE[storages[int(name.removeprefix("data/"))]].itemsize
        return b"".join(content[i : i + size][::-1] for i in range(0, len(content), size))

    assert_state(torch_file.read(rezip(tmp_path / "state.pth", swapped)))


class Call:
    """Pickles to the call of a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("form", [zipped, legacy])
@pytest.mark.parametrize(
    "wrap", [lambda call: call, lambda call: {"a": call}], ids=["bare", "inside"]
)
def test_refuses_to_call_anything(tmp_path, form, wrap):
    marker = tmp_path / "called"
    evil = form(tmp_path / "evil.pth", pickle.dumps(wrap(Call(os.system, f"touch {marker}")), 2))
    with pytest.raises(UserError, match=rf"asks for {os.system.__module__}\.system"):
        torch_file.read(evil)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Call(os.system, f"touch {marker}")))
    assert marker.exists()  # the test's own pickle does what it should


def test_a_pickle_in_the_place_of_the_magic_number_is_refused_too(tmp_path):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Call(eval, "1 / 0")))
    with pytest.raises(UserError, match=r"asks for builtins\.eval"):
        torch_file.read(tmp_path / "evil.pth")


@pytest.mark.parametrize(
    "name", ["_rebuild_tensor_v2.__call__", "_rebuild_tensor_v2.__class__", "_rebuild_tensor_v3"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    text = name.encode()
    code = b"\x80\x04\x8c\x0ctorch._utils\x8c" + bytes([len(text)]) + text + b"\x93."
    with pytest.raises(UserError, match=r"asks for torch\._utils"):
        torch_file.read(zipped(tmp_path / "evil.pth", code))


@pytest.mark.parametrize(
    "named",
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"ctorch\nFloatStorage\n",
    ],
)
@pytest.mark.parametrize(
    "state", [b"}U\x05movedK\x01s", b"N}U\x05movedK\x01s\x86", b"N}U\x08__call__K\x01s\x86"]
)
def test_what_a_pickle_names_cannot_be_changed(tmp_path, named, state):
    with pytest.raises(UserError):
        torch_file.read(zipped(tmp_path / "evil.pth", b"\x80\x02" + named + state + b"b."))
    assert not any(hasattr(value, "moved") for value in torch_file.NAMES.values())
    assert_state(torch_file.read(FORMS[0]))


@pytest.mark.parametrize("path", CHECKPOINTS, ids=["zip", "legacy"])
def test_reads_the_state_dict_of_a_checkpoint_of_training(path):
    found = torch_file.read(path)
    assert list(found) == ["module.encoder_q.conv1.weight", "module.queue_ptr"]
    np.testing.assert_array_equal(
        found["module.encoder_q.conv1.weight"], np.arange(6, dtype=np.float32).reshape(2, 3)
    )
    np.testing.assert_array_equal(found["module.queue_ptr"], np.zeros(1, np.int64))


@pytest.mark.parametrize("form", [zipped, legacy])
def test_refuses_to_call_anything_that_lies_beside_a_state_dict(tmp_path, form):
    evil = form(
        tmp_path / "evil.pth",
        pickle.dumps(
            {"state_dict": {}, "optimizer": Call(os.system, f"touch {tmp_path / 'called'}")}, 2
        ),
    )
    with pytest.raises(UserError, match=rf"asks for {os.system.__module__}\.system"):
        torch_file.read(evil)
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("form", [zipped, legacy])
def test_refuses_a_checkpoint_whose_state_dict_holds_more_than_tensors(tmp_path, form):
    with pytest.raises(UserError, match="not a dictionary of named tensors"):
        torch_file.read(
            form(tmp_path / "odd.pth", pickle.dumps({"epoch": 3, "state_dict": {"lr": 0.1}}, 2))
        )


@pytest.mark.parametrize("path", FORMS, ids=["zip", "legacy"])
def test_refuses_a_file_cut_short(tmp_path, path):
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 31), len(whole) - 1):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(UserError, match="damaged"):
            torch_file.read(tmp_path / "cut.pth")


def test_refuses_a_changed_bit(tmp_path):
    whole = bytearray(FORMS[0].read_bytes())
    whole[whole.index(A.tobytes()) + 40] ^= 1
    (tmp_path / "bit.pth").write_bytes(whole)
    with pytest.raises(UserError, match="CRC"):
        torch_file.read(tmp_path / "bit.pth")


PART = b"K\x08K\x02K\x03\x86"  # in the pickle: offset and shape of `part`
TAMPERED = {
    "shape": (b"K\x08K\x05K\x03\x86", "beyond its storage"),
    "offset": (b"K\x10K\x02K\x03\x86", "beyond its storage"),
    "negative": (b"J\xff\xff\xff\xffK\x02K\x03\x86", "make no sense"),
    "rank": (b"K\x08K\x02\x85", "make no sense"),
    "text": (b"K\x08U\x01xK\x03\x86", "not supported"),
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize(("changed", "message"), TAMPERED.values(), ids=TAMPERED)
def test_refuses_a_tensor_that_leaves_its_storage(tmp_path, form, changed, message):
    target = tmp_path / "state.pth"
    if form == "zip":
        rezip(target, lambda _, content: content.replace(PART, changed))
    else:
        target.write_bytes(FORMS[1].read_bytes().replace(PART, changed))
    with pytest.raises(UserError, match=message):
        torch_file.read(target)


def test_refuses_a_storage_of_another_length(tmp_path):
    whole = FORMS[1].read_bytes()
    start = whole.index(A.tobytes())
    (tmp_path / "long.pth").write_bytes(
        whole[: start - 8] + (25).to_bytes(8, "little") + whole[start:]
    )
    with pytest.raises(UserError, match="25 elements, not 24"):
        torch_file.read(tmp_path / "long.pth")
    shorter = rezip(
        tmp_path / "short.pth",
        lambda _, content: content[:-4] if content == A.tobytes() else content,
    )
    with pytest.raises(UserError, match="92 bytes, not 96"):
        torch_file.read(shorter)


def foreign(kind, target):
    match kind:
        case "empty":
            target.write_bytes(b"")
        case "text":
            target.write_text("<html>sign in</html>")
        case "npz":
            np.savez(target.with_suffix(".npz"), a=A)
            target.with_suffix(".npz").rename(target)
        case "compressed":
            rezip(target, compression=zipfile.ZIP_DEFLATED)
        case "tar":
            with tarfile.open(target, "w") as archive:
                archive.add(FORMS[0])
        case "list":
            zipped(target, pickle.dumps([1, 2], 2))
        case "nested":
            inner = zipfile.ZipFile(FORMS[0]).read("new/data.pkl")
            # {"state": the dict}
            zipped(target, inner.replace(b"\x80\x02", b"\x80\x02}U\x05state", 1)[:-1] + b"s.")
        case "folder":
            target.mkdir()


@pytest.mark.parametrize(
    "kind", ["empty", "text", "npz", "compressed", "tar", "list", "nested", "folder"]
)
def test_refuses_what_is_no_state_dict(tmp_path, kind):
    foreign(kind, tmp_path / "file.pth")
    with pytest.raises(UserError, match="no state dict") as caught:
        torch_file.read(tmp_path / "file.pth")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match="does not exist"):
        torch_file.read(Path("nowhere.pth"))

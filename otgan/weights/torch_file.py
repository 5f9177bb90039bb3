"""Read a PyTorch state dict, `torch.save(network.state_dict(), file)`, without PyTorch and without
trusting the file.

Such a file is a pickle, and unpickling may call anything that the pickle names. Here it may name
the few things of which a state dict consists and nothing else, none of which does more than take
note of its arguments or can itself be changed by the pickle. The numbers lie beside the pickle, as
"storages" that several tensors may share. A checkpoint of training, that is a dictionary which
holds a state dict beside the epoch and the optimizer's tensors, is read for that state dict. Both
forms of file are read:

- zip, since PyTorch 1.6: entries `NAME/data.pkl`, `NAME/data/KEY` for every storage, and in newer
  files `NAME/byteorder`;
- legacy: four pickles (a magic number, a version, facts about the machine, the state dict), a
  pickled list of storage keys, and for each of them the number of its elements in 8 bytes and then
  those, all little endian.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from otgan.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C  # of the legacy form
LEGACY_VERSION = 1001
WRAPPERS = ("state_dict", "model")  # under which checkpoints of training keep the state dict

DTYPES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    count: int  # of elements


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int  # in elements, as the strides
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name, read-only; those that share a storage share memory.

    Raises:
        UserError: there is no such file, it is damaged, or it holds anything but a state dict.
    """
    try:
        with path.open("rb") as file:
            return _read_zip(file) if file.peek(4).startswith(b"PK") else _read_legacy(file)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give a file of PyTorch's weights") from None
    except Exception as error:  # a damaged pickle may raise nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            f"{path} is damaged or no state dict of PyTorch ({reason}): give a file of weights"
            " alone"
        ) from error


class _RebuildTensor:
    """Stands for PyTorch's functions of that name.

    Slots keep a pickle from setting attributes, as it may on a function or class.

    It is called with whatever a pickle holds, which `_view` looks at.
    """

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        return _Tensor(storage, offset, shape, strides)


class _RebuildParameter:
    """The same for parameters, which wrap a tensor."""

    __slots__ = ()

    def __call__(self, tensor: Any, *_: Any) -> Any:
        return tensor


NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): name for name in DTYPES},
}
"""All that a pickle may name, and what it gets."""


class _Unpickler(pickle.Unpickler):
    """Makes dictionaries of `_Tensor`s and of plain values, and nothing else.

    Attributes:
        storages: those named so far, by key.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Give what a pickle names."""
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return NAMES[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """Take note of a storage."""
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or dtype not in DTYPES or any(view):
            raise pickle.UnpicklingError(f"it holds a {kind} of an unknown form")
        storage = self.storages[str(key)] = _Storage(str(key), DTYPES[dtype], int(count))
        return storage


def _read_zip(file: io.BufferedIOBase) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        (main,) = (
            name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"
        )
        folder = main.removesuffix("data.pkl")
        # never PyTorch's, and a bomb if anybody's
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("its entries are compressed")
        order = (
            archive.read(f"{folder}byteorder").decode()
            if f"{folder}byteorder" in archive.namelist()
            else "little"
        )
        tensors = _tensors(_Unpickler(io.BytesIO(archive.read(main))).load())
        storages = {
            key: _numbers(archive.read(f"{folder}data/{key}"), storage, order)
            for key, storage in _storages(tensors).items()
        }
    return {name: _view(tensor, storages) for name, tensor in tensors.items()}


def _read_legacy(file: io.BufferedIOBase) -> dict[str, np.ndarray]:
    if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != LEGACY_VERSION:
        raise ValueError("it is neither of PyTorch's forms")
    # sizes of C's types on the machine that wrote it, which the elements do not depend on
    _Unpickler(file).load()
    loading = _Unpickler(file)
    tensors = _tensors(loading.load())
    storages = {key: _read_storage(file, loading.storages[key]) for key in _Unpickler(file).load()}
    return {name: _view(tensor, storages) for name, tensor in tensors.items()}


def _read_storage(file: io.BufferedIOBase, storage: _Storage) -> np.ndarray:
    if (count := int.from_bytes(file.read(8), "little")) != storage.count:
        raise ValueError(f"storage {storage.key} has {count} elements, not {storage.count}")
    return _numbers(file.read(count * storage.dtype.itemsize), storage, "little")


def _tensors(loaded: Any) -> dict[str, _Tensor]:
    """A state dict's, or those of the one that a checkpoint holds."""
    if isinstance(loaded, Mapping):
        loaded = next(
            (loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), Mapping)), loaded
        )
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(value, _Tensor) for name, value in loaded.items()
    ):
        raise ValueError("it is not a dictionary of named tensors")
    return dict(loaded)


def _storages(tensors: Mapping[str, _Tensor]) -> dict[str, _Storage]:
    return {tensor.storage.key: tensor.storage for tensor in tensors.values()}


def _numbers(raw: bytes, storage: _Storage, order: str) -> np.ndarray:
    """A storage's elements, in this machine's byte order."""
    size = storage.dtype.itemsize
    if len(raw) != storage.count * size:
        raise ValueError(f"storage {storage.key} has {len(raw)} bytes, not {storage.count * size}")
    elements = np.frombuffer(raw, np.uint8).reshape(-1, size)
    numbers = (
        (elements if order == sys.byteorder else np.ascontiguousarray(elements[:, ::-1]))
        .view(storage.dtype)
        .reshape(-1)
    )
    numbers.flags.writeable = False
    return numbers


def _view(tensor: _Tensor, storages: Mapping[str, np.ndarray]) -> np.ndarray:
    """A tensor as a view of its storage, which it must not leave."""
    numbers, shape, strides = storages[tensor.storage.key], tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((tensor.offset, *shape, *strides)) < 0:
        raise ValueError("a tensor's shape or strides make no sense")
    last = tensor.offset + sum(
        (side - 1) * stride for side, stride in zip(shape, strides, strict=True)
    )
    if 0 not in shape and last >= len(numbers):
        raise ValueError("a tensor reaches beyond its storage")
    start = numbers[tensor.offset :]
    bytes_apart = tuple(stride * numbers.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(start, shape, bytes_apart, writeable=False)

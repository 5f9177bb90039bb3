"""Files such as PyTorch saves, without PyTorch."""

import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import pytest


def save(path, state):
    """Write PyTorch's zip form without it, by stand-ins for what its pickles name."""
    utils, torch = types.ModuleType("torch._utils"), types.ModuleType("torch")
    exec("def _rebuild_tensor_v2(*_): pass", utils.__dict__)
    exec("class FloatStorage: pass", torch.__dict__)
    rebuild, storage = utils._rebuild_tensor_v2, torch.FloatStorage
    rebuild.__module__, storage.__module__ = "torch._utils", "torch"

    class Tensor:
        def __init__(self, key, value):
            strides = tuple(step // value.itemsize for step in value.strides)
            self.arguments = Key(key, value.size), 0, value.shape, strides, False, OrderedDict()

        def __reduce__(self):
            return rebuild, self.arguments

    class Key:
        def __init__(self, key, count):
            self.pid = "storage", storage, key, "cpu", count

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return obj.pid if isinstance(obj, Key) else None

    with zipfile.ZipFile(path, "w") as archive, pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        with archive.open("weights/data.pkl", "w") as file:
            Pickler(file, 2).dump(
                OrderedDict(
                    (name, Tensor(str(i), value)) for i, (name, value) in enumerate(state.items())
                )
            )
        for i, value in enumerate(state.values()):
            archive.writestr(f"weights/data/{i}", value.tobytes())

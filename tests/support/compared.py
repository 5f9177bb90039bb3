"""Scripts as modules: the seeded random weights and pictures on which networks are compared with
other libraries'.
"""

import importlib.util
import sys

from tests.support import REPOSITORY


def _load(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / f"scripts/{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for the module of a class
    spec.loader.exec_module(module)
    return module


script = _load("compare_inception")
networks = _load("compare_networks")

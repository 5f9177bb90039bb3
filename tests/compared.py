"""`scripts/compare_inception.py` as a module: the seeded random weights and pictures on which Inception is compared with pytorch-fid."""

import importlib.util
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

_spec = importlib.util.spec_from_file_location("compare_inception", REPOSITORY / "scripts/compare_inception.py")
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)

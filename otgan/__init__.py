"""Generative networks trained by explicit optimal transport, with a certified accuracy at every
step.
"""

TYPE_CHECKING = False  # not from typing: a Ctrl-C within its import could not be caught yet

if TYPE_CHECKING:
    from otgan.api import TrainedRun, load, score, train

__version__ = "0.2.0.dev0"
__all__ = ["TrainedRun", "load", "score", "train"]


def __getattr__(name: str) -> object:
    """What is for use in Python: imported where it is asked for, since it brings JAX, which most
    commands do without.
    """
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("otgan.api"), name)
    raise AttributeError(f"module 'otgan' has no attribute {name!r}")

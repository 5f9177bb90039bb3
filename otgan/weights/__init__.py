"""The weights of feature networks: carried by the package, the user's own files, or downloaded
once. No JAX.
"""

from otgan.weights.store import Weights, read, write

__all__ = ["Weights", "read", "write"]

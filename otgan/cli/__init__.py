"""The commands: each parses, calls one function, prints.

JAX is imported only by those that compute.
"""

from otgan.cli import (
    data,
    diagnosing,
    examining,
    features,
    judging,
    listing,
    reporting,
    suggesting,
    sweeping,
    training,
)
from otgan.cli.group import main

__all__ = [
    "data",
    "diagnosing",
    "examining",
    "features",
    "judging",
    "listing",
    "main",
    "reporting",
    "suggesting",
    "sweeping",
    "training",
]

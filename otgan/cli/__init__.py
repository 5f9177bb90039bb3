"""The commands: each parses, calls one function, prints.

A command is imported when it is typed, and JAX only by those that compute.
"""

from otgan.cli.group import main

__all__ = ["main"]

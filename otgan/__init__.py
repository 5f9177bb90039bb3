"""Generative networks trained by explicit optimal transport, with a certified accuracy at every step."""

__version__ = "0.1.0"

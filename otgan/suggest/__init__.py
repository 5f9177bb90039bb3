"""An experiment fitted to data that nobody has seen: rules that look at them once, and write plain
values with their reasons.
"""

from otgan.suggest.resolve import resolve

__all__ = ["resolve"]

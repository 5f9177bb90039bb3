"""The players' networks: pure `init` and `apply`, no state besides the parameters."""

from otgan.models.networks import Network, make_encoder, make_generator

__all__ = ["Network", "make_encoder", "make_generator"]

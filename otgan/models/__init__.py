"""The players' networks: pure `init` and `apply`, no state besides the parameters."""

from otgan.models.generators import latents_of, make_generator
from otgan.models.networks import Network, make_encoder

__all__ = ["Network", "latents_of", "make_encoder", "make_generator"]

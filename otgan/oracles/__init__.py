"""Duals between generated and real points, each solved to an accuracy that it reports."""

from jax.sharding import Mesh

from otgan.config import Config
from otgan.models import Network
from otgan.oracles.contract import Family, Players
from otgan.oracles.regularized import make_regularized

__all__ = ["Family", "Players", "make_family"]


def make_family(config: Config, generator: Network, encoder: Network | None, mesh: Mesh | None = None) -> Family:
    """The family that a config names; on a mesh, batches lie along its one axis."""
    match config.oracle.family:
        case "regularized":
            return make_regularized(config, generator, encoder, mesh)

"""Duals between generated and real points, each solved to an accuracy that it reports."""

from jax.sharding import Mesh

from otgan.config import Config, Regularized
from otgan.data import Form
from otgan.oracles.contract import NOBODY, Family, Players
from otgan.oracles.regularized import make_regularized

__all__ = ["NOBODY", "Family", "Players", "make_family"]


def make_family(config: Config, form: Form, networks: Players, mesh: Mesh | None = None) -> Family:
    """The family that a config names, for players' networks and data of a form; on a mesh, batches lie along its one axis."""
    match config.oracle:
        case Regularized():
            return make_regularized(config, form, networks, mesh)
        case other:
            raise NotImplementedError(other.family)

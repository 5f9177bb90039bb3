"""Duals between generated and real points, each solved to an accuracy that it reports."""

from jax.sharding import Mesh

from otgan import plugins
from otgan.config import Config, Convex, Critic, Drifting, Neural, Regularized, Semidiscrete
from otgan.data import Form
from otgan.oracles.contract import NOBODY, Family, Players
from otgan.oracles.convex import make_convex
from otgan.oracles.critic import make_critic
from otgan.oracles.drifting import make_drifting
from otgan.oracles.neural import make_neural
from otgan.oracles.regularized import make_regularized
from otgan.oracles.semidiscrete import make_semidiscrete

__all__ = ["NOBODY", "Family", "Players", "make_family"]


def make_family(config: Config, form: Form, networks: Players, mesh: Mesh | None = None) -> Family:
    """The family that a config names, for players' networks and data of a form; on a mesh, batches lie along its one axis.

    Raises:
        UserError: a network of the family cannot serve data of this form.
    """
    match config.oracle:
        case Regularized():
            return make_regularized(config, form, networks, mesh)
        case Semidiscrete():
            return make_semidiscrete(config, form, networks, mesh)
        case Convex():
            return make_convex(config, form, networks, mesh)
        case Neural():
            return make_neural(config, form, networks, mesh)
        case Critic():
            return make_critic(config, form, networks, mesh)
        case Drifting():
            return make_drifting(config, form, networks, mesh)
        case foreign:  # of another package
            return plugins.load(plugins.Kind.FAMILY, foreign.family).make(config, form, networks, mesh)

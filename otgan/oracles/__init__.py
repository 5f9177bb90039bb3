"""Duals between generated and real points, each solved to an accuracy that it reports."""

from otgan import plugins
from otgan.config import Adaptive, Convex, Critic, Drifting, Neural, Regularized, Semidiscrete
from otgan.config.families import Families
from otgan.oracles.adaptive import make_adaptive
from otgan.oracles.contract import NOBODY, Family, Players
from otgan.oracles.convex import make_convex
from otgan.oracles.critic import make_critic
from otgan.oracles.drifting import make_drifting
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.neural import make_neural
from otgan.oracles.quadratic import solve_quadratic
from otgan.oracles.regularized import make_regularized
from otgan.oracles.semidiscrete import make_semidiscrete
from otgan.problem import Problem

__all__ = ["NOBODY", "Family", "Players", "make_family", "solve_entropic", "solve_quadratic"]


def make_family(oracle: Families, problem: Problem) -> Family:
    """The family that a config's section `oracle` names.

    Raises:
        UserError: a network of the family cannot serve data of this form.
    """
    match oracle:
        case Regularized():
            adapts = isinstance(oracle.epsilon, Adaptive)
            return (make_adaptive if adapts else make_regularized)(oracle, problem)
        case Semidiscrete():
            return make_semidiscrete(oracle, problem)
        case Convex():
            return make_convex(oracle, problem)
        case Neural():
            return make_neural(oracle, problem)
        case Critic():
            return make_critic(oracle, problem)
        case Drifting():
            return make_drifting(oracle, problem)
        case foreign:  # of another package
            return plugins.load(plugins.Kind.FAMILY, foreign.family).make(foreign, problem)

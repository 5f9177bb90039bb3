"""Regularised optimal transport between batches, and the losses that are made of it.

With x_i real, y_j = G(z_j), and d = d_{c,lam} the KL- or L2-regularised transport cost between two clouds,

    regot     d(x, y)                                    Sanjabi, Ba, Razaviyayn, Lee (NeurIPS 2018), Algorithm 1
    sinkhorn  2 d(x, y) - d(x, x) - d(y, y)              the same, Algorithm 2, not halved
              2 d(x, y) - d(x, x') - d(y, y')            with self terms between independent batches
    energy    d(x, y) + d(x, y') + d(x', y) + d(x', y') - 2 d(x, x') - 2 d(y, y')
                                                         Salimans et al. (ICLR 2018), Algorithm 1; each batch in two halves x, x' and y, y'

Each d is solved to a certified gap of at most epsilon. Then d moves with the cost as <P, C>, the plan P fixed (envelope theorem), and the
cost with the features that it sees. So what is held is a pull on every feature that moves, the gradient of the loss in it, and the loss is
linear in them: costs and plans are done with when the solve is. Where the cost is fixed d(x, x) moves nobody: it is left out of what is
solved, and of the numbers that are reported. There y' is held fixed, which spares a pass back through the networks, and the gradient of
d(y, y') in y counts twice: in the mean that in y' is the same.
A lam in multiples of the mean cost is a number like any other to the gradient: it does not follow the cost.
Where the marginal of the generated side is relaxed (finite tau), that is d(x, y)'s alone; the other terms stay balanced.

With a warm start the potential of every training example is kept from its last batch, and the dual of d(x, y) starts from its rows' own.

Where `pulls` is "even", the pull of each problem is divided by its own size, so that every window counts however little is wrong in it. The
points at which nothing is pulled stay the same; the loss that is recorded is still the sum of the duals.

A cost may look at several groups of features (`otgan.groups`): d is then one problem on their mean cost, or the mean of one problem for
each group, or for each of a group's windows, at one lam and one epsilon. n real and m generated examples need not be equally many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh
from jaxtyping import Float

from otgan.clouds import Clouds, draw_latents, draw_places, reals_at, spread_out
from otgan.config import Config, Regularized
from otgan.costs import Groups, Problems, between_groups, make_cost
from otgan.data import Form
from otgan.oracles.contract import Family, Info, Players, hold, in_units_of_cost
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import solve_quadratic
from otgan.oracles.seeing import see, see_reals
from otgan.oracles.solution import Solution
from otgan.results.quantities import REGULARIZED

Potentials = tuple[()] | tuple[Array]  # with a warm start (N,): of every training example, NaN before its first batch
Between = Literal["both", "kind", "self"]  # real and generated; two clouds of one kind; a cloud and itself


LEAST = 1e-30  # a squared pull below this counts as this: no pull stays none


class Term(NamedTuple):
    """One d in a loss."""

    weight: float
    between: Between
    problems: Problems  # its costs, (k, n, m)
    pull: float  # what its gradient counts for: the weight, unless one of its clouds is held fixed


class Drawn(NamedTuple):
    """A batch. Of a cost that nobody trains it has what the cost sees, for that does not change."""

    x: Any  # real examples (n, ...), or the groups of features that are seen of them
    z: Array  # (m, latent_dim)
    second: Any = None  # of independent self terms: another (x, z), or the groups that are seen of other generated examples


class Seen(NamedTuple):
    """What the cost sees of a batch: groups of features, in units of their scales."""

    x: Groups  # of n real examples
    y: Groups  # of m generated ones
    x2: Groups | None = None  # of the second ones of independent self terms
    y2: Groups | None = None


class Held(NamedTuple):
    """A batch and where it is pulled; leaves carry the contract's leading axis, here of one update."""

    drawn: Drawn
    pulls: Any  # (1, m, d) or (1, m, p, d) of y's groups, of a learned cost of all that is `Seen`: the gradient in them, perhaps made even
    offset: Array  # (1,): what makes the loss the dual value at the point of the solve


def make_regularized(config: Config, form: Form, networks: Players, mesh: Mesh | None = None) -> Family:
    """The family of a config whose `oracle.family` is "regularized"."""
    oracle, batch, learned = config.oracle, config.batch, config.cost.learned
    assert isinstance(oracle, Regularized)
    cost, joint = make_cost(config.cost.name), config.cost.groups == "joint"
    generator, encoder = networks

    def generate(players: Players, clouds: Clouds, z: Array) -> Groups:
        return see(encoder, players, clouds, generator.apply(players.generator, z))

    def draw(players: Players, clouds: Clouds, key: Array) -> tuple[Array, Drawn]:
        key_x, key_z = jax.random.split(key)
        places = draw_places(clouds, key_x, batch.real)
        z = spread_out(draw_latents(clouds, key_z, batch.size, config.generator.latent_dim), mesh)
        x = reals_at(clouds, places) if learned else see_reals(encoder, players, clouds, places)
        return places, Drawn(jax.tree.map(lambda leaf: spread_out(leaf, mesh), x), z)

    def draw_second(players: Players, clouds: Clouds, key: Array) -> Any:
        if learned:
            return draw(players, clouds, key)[1][:2]
        z = spread_out(draw_latents(clouds, key, batch.size, config.generator.latent_dim), mesh)
        return generate(players, clouds, z)

    def look(players: Players, clouds: Clouds, drawn: Drawn) -> Seen:
        y = generate(players, clouds, drawn.z)
        if not learned:
            return Seen(drawn.x, y, y2=drawn.second)
        seen = Seen(see(encoder, players, clouds, drawn.x), y)
        if drawn.second is None:
            return seen
        x2, z2 = drawn.second
        return seen._replace(x2=see(encoder, players, clouds, x2), y2=generate(players, clouds, z2))

    def moves(seen: Seen) -> Any:
        return seen if learned else seen.y

    def terms(seen: Seen) -> list[Term]:
        return terms_of(oracle.loss, seen, lambda a, b: between_groups(cost, a, b, joint), learned)

    def solve(state: Potentials, players: Players, clouds: Clouds, key: Array) -> tuple[Potentials, Held, Info]:
        places, drawn = draw(players, clouds, key)
        if oracle.self_term == "independent":
            drawn = drawn._replace(second=draw_second(players, clouds, jax.random.fold_in(key, 1)))
        seen = look(players, clouds, drawn)
        of_loss = terms(seen)
        mean_cost = jnp.mean(
            jnp.stack([t.problems.mean(jnp.mean(t.problems.matrices, axis=(1, 2))) for t in of_loss if t.between == "both"])
        )
        known = state[0][places] if state else None
        solutions = solve_terms(oracle, of_loss, mean_cost, known)
        state = (state[0].at[places].set(hold(solutions[0].f[0])),) if state else ()
        pulls = moves(jax.grad(lambda seen: _moving(terms(seen), solutions))(seen))
        pulls = even(pulls) if oracle.pulls == "even" else pulls
        info = _info(oracle, of_loss, solutions, mean_cost)
        held = Held(drawn, pulls, info["dual_value"] - _along(pulls, moves(seen)))
        extra = 0 if drawn.second is None else batch.size + learned * batch.real
        held = jax.tree.map(lambda leaf: leaf[None], hold(held))
        return state, held, {**info, "examples": batch.real + batch.size + extra}

    def loss(held: Held, players: Players, clouds: Clouds) -> Array:
        return _along(held.pulls, moves(look(players, clouds, held.drawn))) + held.offset

    return Family(
        init=lambda key: (jnp.full(form.size, jnp.nan),) if oracle.warm_start else (),
        solve=solve,
        loss=loss,
        generate=lambda state, parameters, z: generator.apply(parameters, z),
        gap_kind="certified",
        quantities=REGULARIZED,
    )


def terms_of(loss: str, seen: Seen, problems: Callable[[Groups, Groups], Problems], learned: bool) -> list[Term]:
    """The d that a loss is made of, as at the head of this module; of a learned cost d(x, x) moves the encoder, so it is one of them."""

    def term(weight: float, between: Between, a: Groups, b: Groups, pull: float | None = None) -> Term:
        return Term(weight, between, problems(a, b), weight if pull is None else pull)

    x, y, x2, y2 = seen
    match loss:
        case "regot":
            return [term(1.0, "both", x, y)]
        case "energy":
            (x1, x2), (y1, y2) = _halves(x), _halves(y)
            across = [term(1.0, "both", a, b) for a in (x1, x2) for b in (y1, y2)]
            return [*across, term(-2.0, "kind", x1, x2), term(-2.0, "kind", y1, y2)]
        case "sinkhorn":
            if y2 is None:
                own = [term(-1.0, "self", y, y), *([term(-1.0, "self", x, x)] if learned else [])]
            elif x2 is None:
                own = [term(-1.0, "kind", y, y2, pull=-2.0)]
            else:
                own = [term(-1.0, "kind", y, y2), term(-1.0, "kind", x, x2)]
            return [term(2.0, "both", x, y), *own]
    raise ValueError(f"no loss is called {loss!r}")


def _halves(groups: Groups) -> list[Groups]:
    return list(zip(*(jnp.split(group, 2) for group in groups), strict=True))


def _moving(terms: list[Term], solutions: list[Solution]) -> Array:
    """What moves of the loss at fixed plans, in units of the cost."""
    paid = [jnp.sum(s.plan * t.problems.matrices, axis=(1, 2)) for t, s in zip(terms, solutions, strict=True)]
    return jnp.sum(jnp.stack([t.pull * t.problems.mean(costs) for t, costs in zip(terms, paid, strict=True)]))


def even(pulls: Groups) -> Groups:
    """The pulls on m examples of k groups, (m, d) or in windows (m, p, d), made equally strong: a group's to a length of 1 / (k m).

    That is the root mean square over the examples; each of a group's p windows has a p-th of it, as in the mean of the loss.
    """

    def made(pull: Array) -> Array:
        squares = jnp.mean(jnp.sum(pull**2, axis=-1), axis=0)
        strength = jnp.sqrt(jnp.maximum(squares, LEAST)) * len(pull) * squares.size * len(pulls)
        return pull / strength[None, ..., None]

    return tuple(made(pull) for pull in pulls)


def _along(pulls: Any, seen: Any) -> Array:
    """What is seen times its pull, summed."""
    pairs = zip(jax.tree.leaves(pulls), jax.tree.leaves(seen), strict=True)
    return jnp.sum(jnp.stack([jnp.vdot(pull, group, precision=lax.Precision.HIGHEST) for pull, group in pairs]))


def solve_terms(oracle: Regularized, terms: list[Term], mean_cost: Array, known: Float[Array, " n"] | None = None) -> list[Solution]:
    """The duals of all terms, leaves (k, ...), at one lam and one epsilon: those of the real-generated cost's scale.

    `known` are potentials to start from, for the rows of the term between real and generated points; see `solve_entropic`.
    """
    lam, epsilon = jnp.asarray(oracle.lam.times(mean_cost)), jnp.asarray(oracle.epsilon.times(mean_cost))
    tau = jnp.asarray(oracle.tau.times(mean_cost)) if oracle.tau.finite else None

    def solve_all(term: Term) -> Solution:
        def solve(matrix: Array) -> Solution:
            return solve_term(oracle, matrix, lam, epsilon, tau, term.between, known if term.between == "both" else None)

        matrices = term.problems.matrices
        if len(matrices) == 1:  # as it is: under vmap both sides of every condition would be computed
            return jax.tree.map(lambda leaf: leaf[None], solve(matrices[0]))
        return jax.vmap(solve)(matrices)

    return [solve_all(term) for term in terms]


def solve_term(
    oracle: Regularized,
    cost: Float[Array, "n m"],
    lam: Float[Array, ""],
    epsilon: Float[Array, ""],
    tau: Float[Array, ""] | None,
    between: Between = "both",
    known: Float[Array, " n"] | None = None,
) -> Solution:
    """One dual as training solves it: by the oracle's regulariser, cadence and budget; amounts in units of the cost."""
    limits = {"iterations_per_check": oracle.check_every(), "max_iterations": oracle.max_iterations}
    match oracle.regularizer:
        case "kl":
            relaxed, symmetric = tau if between == "both" else None, between == "self"
            return solve_entropic(cost, lam, epsilon, relaxed, anneal=oracle.anneal, symmetric=symmetric, known=known, **limits)
        case "l2":
            return solve_quadratic(cost, lam, epsilon, **limits)


def _weighted(terms: list[Term], values: list[Array]) -> Array:
    """Of values (k,) of every term."""
    means = jnp.stack([t.problems.mean(value) for t, value in zip(terms, values, strict=True)])
    return jnp.sum(jnp.asarray([t.weight for t in terms], means.dtype) * means)


def _info(oracle: Regularized, terms: list[Term], solutions: list[Solution], mean_cost: Array) -> Info:
    """Of several duals the largest gap (each is held to epsilon) and the sum of iterations; of the loss that they make, what bounds it."""
    least, most = _interval(terms, solutions)
    return {
        "dual_value": _weighted(terms, [s.value for s in solutions]),
        "dual_gap": _largest([s.gap for s in solutions]),
        "dual_floor": _largest([s.floor for s in solutions]),
        "dual_iterations": jnp.sum(jnp.concatenate([s.iterations for s in solutions])),
        "dual_converged": jnp.all(jnp.concatenate([s.converged for s in solutions])),
        "loss_at_least": least,
        "loss_at_most": most,
        "misplaced_mass": _largest([s.misplaced for s in solutions]),
        "ready": True,
        **in_units_of_cost(mean_cost, lam=oracle.lam, epsilon=oracle.epsilon),
    }


def _interval(terms: list[Term], solutions: list[Solution]) -> tuple[Array, Array]:
    """Where the loss of exact duals lies: each is between its value, less what rounding may add to that, and its value plus its gap."""
    lowest = [s.value - s.floor if t.weight > 0 else s.value + s.gap for t, s in zip(terms, solutions, strict=True)]
    highest = [s.value + s.gap if t.weight > 0 else s.value - s.floor for t, s in zip(terms, solutions, strict=True)]
    return _weighted(terms, lowest), _weighted(terms, highest)


def _largest(values: list[Array]) -> Array:
    return jnp.max(jnp.concatenate(values))

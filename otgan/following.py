"""One run in several processes: what all of them do, and what the others do that do not lead.

They see the data and the steps, and neither the run's folder nor its budgets.
"""

from __future__ import annotations

import jax
from jax.sharding import NamedSharding, PartitionSpec

from otgan.assembly import TrainSetup
from otgan.batches import BatchSource
from otgan.dispatch import (
    Clock,
    Dispatch,
    Dispatched,
    StopReason,
    compile_dispatch,
    make_clock,
)
from otgan.hosts import Hosts
from otgan.layout import of_the_leader, spread
from otgan.results.state import RunState
from otgan.signals import exit_code_of, interruptible
from otgan.step import TrainState


def begin(setup: TrainSetup) -> tuple[BatchSource, TrainState]:
    """A run's data, and the state that it begins with, on all devices."""
    everywhere = NamedSharding(setup.mesh, PartitionSpec())
    init = jax.jit(setup.system.stepper.init, out_shardings=everywhere)
    return spread(setup.data, setup.mesh), init(spread(setup.initial, setup.mesh))


def agreed(state: TrainState, setup: TrainSetup) -> TrainState:
    """The leader's state, in all processes: it may have read one from the run's folder."""
    return spread(of_the_leader(state), setup.mesh)


def led(dispatch: Dispatch, hosts: Hosts) -> Dispatch:
    """A dispatch that the others are told to take as well."""

    def together(state: TrainState, count: int, clock: Clock) -> Dispatched:
        hosts.tell({"count": count, "clock": [number.item() for number in clock]})
        with hosts.together():
            return dispatch(state, count, clock)

    return together


def let_go(hosts: Hosts, stop: StopReason) -> None:
    """Tell the others how the run ended, whose steps are done."""
    if stop.state is RunState.FINISHED:
        hosts.release(0, "")
    else:
        code = stop.state.exit_code if stop.signal is None else exit_code_of(stop.signal)
        hosts.release(code, f"process 0 ended the run: {stop.reason}")


def follow(setup: TrainSetup, hosts: Hosts) -> None:
    """Take the steps that the leader takes, until it says that they are done.

    Raises:
        EndedError: they are.
        UserError: the leader failed or is gone.
    """
    with interruptible() as seen:
        data, state = begin(setup)
        hosts.underway(lambda reason: f"{reason}, and with it the run")
        with hosts.together():
            state = agreed(state, setup)
            dispatch = compile_dispatch(setup.system, state, data, setup.mesh, setup.config)
        while True:
            order = hosts.hear(seen)
            with hosts.together():
                clock = make_clock(*order["clock"])
                state = dispatch(state, order["count"], clock).state

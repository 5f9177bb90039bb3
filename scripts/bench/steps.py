"""Whole training steps: ours as they are trained, and the same loss in PyTorch with geomloss."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from otgan.batches import BatchSource
from otgan.config import Config, Regularized
from otgan.data import Form
from otgan.dispatch import Progress, clock_of, compile_dispatch
from otgan.problem import Players
from otgan.system import build, make_mesh
from scripts.bench import twins

SCALING = 0.5  # geomloss' own default


class OurSteps:
    """The program that `otgan run` dispatches, and the state that it is at."""

    def __init__(self, config: Config, examples: np.ndarray):
        """Compile it, for bytes of pictures."""
        form, mesh = Form(examples.shape[1:], True, (), 1.0, len(examples)), make_mesh(1)
        system = build(config, form, mesh)
        self.data = BatchSource(jnp.asarray(examples))
        self.state = jax.jit(system.stepper.init)()
        self.dispatch = compile_dispatch(system, self.state, self.data, mesh, config)

    def take(self, count: int) -> dict[str, Any]:
        """So many steps; the records of all of them."""
        clock = clock_of(Progress())
        done = self.dispatch(self.state, count, clock)
        self.state = done.state
        return {name: values[:count] for name, values in done.records.items()}


class TwinSteps:
    """The Sinkhorn loss of squared distances of pixels, or of cosines of learned features, each at
    the recipe's lam.
    """

    def __init__(
        self, config: Config, examples: np.ndarray, players: Players, layout: twins.Layout
    ):
        """Start where our players are."""
        torch = import_module("torch")
        assert isinstance(config.oracle, Regularized)
        self.torch, self.config, self.device = torch, config, twins.device()
        self.lam = config.oracle.lam
        self.examples = torch.from_numpy(examples).to(self.device)
        self.generate = twins.generator(config.generator, examples.shape[1:], layout)
        self.generator = twins.moving(twins.tensors(players.generator, self.device))
        self.average = [tensor.detach().clone() for tensor in self.generator.values()]
        self.descent = self._adam(self.generator, config.generator.optimizer)
        if config.cost.learned:
            self.encode = twins.encoder(config.cost.encoder, layout)
            self.encoder = twins.moving(twins.tensors(players.encoder, self.device))
            self.ascent = self._adam(self.encoder, config.cost.encoder.optimizer)
        self.taken = 0

    def _adam(self, moving: twins.Tensors, optimizer: Any) -> Any:
        return self.torch.optim.Adam(
            [*moving.values()],
            lr=optimizer.learning_rate,
            betas=(optimizer.b1, optimizer.b2),
            fused=True,
        )

    def take(self, count: int) -> float:
        """So many steps; the mean of their losses."""
        losses = [self._step() for _ in range(count)]
        twins.finish(self.device)
        return float(self.torch.stack(losses).mean())

    def _step(self) -> Any:
        torch, encoder = self.torch, self.config.cost.encoder
        turns = encoder.generator_updates + encoder.encoder_updates
        descends = not self.config.cost.learned or self.taken % turns < encoder.generator_updates
        self.taken += 1
        loss = self.loss(*self.batch())
        moving = self.generator if descends else self.encoder
        gradients = torch.autograd.grad(loss if descends else -loss, [*moving.values()])
        for tensor, gradient in zip(moving.values(), gradients, strict=True):
            tensor.grad = gradient
        if descends:
            self.descent.step()
            ema = self.config.generator.ema
            torch._foreach_lerp_(self.average, [*moving.values()], 1 - ema)
        else:
            self.ascent.step()
        return loss.detach()

    def batch(self) -> tuple[Any, Any]:
        """Real and generated pictures."""
        torch, size = self.torch, self.config.batch.size
        places = torch.randint(len(self.examples), (size,), device=self.device)
        latents = torch.randn(size, self.config.generator.latent_dim, device=self.device)
        real = self.examples[places].float() / 127.5 - 1
        return real, self.generate(self.generator, latents)

    def loss(self, real: Any, made: Any) -> Any:
        """Twice d(x, y), less d(x, x) and d(y, y)."""
        if self.config.cost.learned:
            # of features of length 1, half the squared distance is 1 - cos
            x, y = self.encode(self.encoder, real), self.encode(self.encoder, made)
            return 2 * self.divergence(x, y, float(self.lam.times(1.0)))
        x, y = real.flatten(1), made.flatten(1)
        with self.torch.no_grad():
            squares = x.square().sum(1).mean() + y.square().sum(1).mean()
            mean_cost = float(squares - 2 * x.mean(0) @ y.mean(0))
        return 4 * self.divergence(x, y, float(self.lam.times(mean_cost)) / 2)

    def divergence(self, x: Any, y: Any, eps: float) -> Any:
        """Geomloss', of half the squared distance."""
        loss = import_module("geomloss").SamplesLoss(
            "sinkhorn", p=2, blur=eps**0.5, scaling=SCALING, backend="tensorized"
        )
        return loss(x, y)

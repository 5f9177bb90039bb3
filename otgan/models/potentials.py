"""Networks with one number for each point: the dual potentials phi and psi, and critics.

They are the encoders' networks without a normalization (a critic's gradient penalty is a point's
own: Gulrajani et al. 2017), with one feature and nothing after it. Points come in at mean 0 and
variance 1; what one unit of the output means is for a family to say.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from otgan.config import Potential
from otgan.data import Form
from otgan.models.networks import (
    ConvEncoder,
    MLPEncoder,
    Network,
    Params,
    apply_net,
    check_halvings,
)


def make_potential(config: Potential, form: Form, section: str) -> Network:
    """A potential: n *shape -> n.

    Args:
        config: the section that describes it.
        form: of the data; points are centered and scaled as it says, pictures are taken as they
            are.
        section: its name, for what is refused.

    Raises:
        UserError: a convolutional network cannot read examples of this shape.
    """
    match config.kind:
        case "mlp":
            net = MLPEncoder(1, config.width, config.depth, "none")
        case "conv":
            check_halvings(section, form.shape, config.depth)
            net = ConvEncoder(1, config.width, config.depth, "none")
    center = 0.0 if form.images else jnp.asarray(form.center, jnp.float32).reshape(1, -1)

    def apply(params: Params, x: Float[Array, "n ..."]) -> Float[Array, " n"]:
        return apply_net(net, params, (x - center) / form.scale)[:, 0]

    return Network(init=lambda key: net.init(key, jnp.zeros((1, *form.shape))), apply=apply)

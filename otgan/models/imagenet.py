"""What networks that were trained on ImageNet look at: 224 x 224 pixels in three colors, with
ImageNet's mean and deviation.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Shaped

from otgan.models.resize import antialiased, mix

SIDE = 224
MEAN = (0.485, 0.456, 0.406)  # of red, green and blue in [0, 1]
DEVIATION = (0.229, 0.224, 0.225)
WORDS = f"antialiased bicubic to {SIDE} x {SIDE}, ImageNet's mean and deviation"


def prepare(levels: Shaped[Array | np.ndarray, "n h w c"]) -> Float[Array, "n side side 3"]:
    """Resize as Stein et al. (2023) do, and scale.

    Both sides become 224 whatever they were, by Pillow's bicubic filter on floats: widened where an
    image shrinks, overshoot cut off at 0 and 255, not rounded to bytes.

    Args:
        levels: bytes or levels in [0, 255], gray or in color; gray is repeated.
    """
    color = jnp.broadcast_to(jnp.asarray(levels, jnp.float32), (*levels.shape[:3], 3))
    rows, columns = (antialiased(side, SIDE) for side in levels.shape[1:3])
    large = jnp.clip(mix(color, rows, columns), 0, 255) / 255
    mean, deviation = (
        np.array(values, np.float32).reshape(1, 1, 1, 3) for values in (MEAN, DEVIATION)
    )
    return (large - mean) / deviation

"""From a published network's arrays to our parameters: are they all there, and what of them is one
affine map. No JAX.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from otgan.errors import UserError

# PyTorch's count of training steps in every batch normalization, without a part in inference
COUNTER = "num_batches_tracked"


def without_counters(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict's arrays but for the counters."""
    return {name: value for name, value in state.items() if not name.endswith(f".{COUNTER}")}


def require(
    state: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], title: str, file: str
) -> None:
    """Refuse arrays that are not exactly those expected.

    Args:
        state: arrays by name.
        shapes: what is expected.
        title: the network, for the sentence.
        file: the file that has the right ones.

    Raises:
        UserError: arrays are missing, left over, or of another shape; the first few are named.
    """
    complaints = {
        "lack": shapes.keys() - state.keys(),
        "have besides": state.keys() - shapes.keys(),
        "have in another shape": {
            name for name, shape in shapes.items() if name in state and state[name].shape != shape
        },
    }
    for complaint, names in complaints.items():
        if names:
            first = ", ".join(sorted(names)[:3]) + (
                f" and {len(names) - 3} more" if len(names) > 3 else ""
            )
            raise UserError(
                f"these are not the weights of {title}: they {complaint} {first}; give the file"
                f" {file}"
            )


def folded_convolution(
    kernel: Float[np.ndarray, "d c h w"],
    scale: Float[np.ndarray, " d"],
    shift: Float[np.ndarray, " d"],
    mean: Float[np.ndarray, " d"],
    variance: Float[np.ndarray, " d"],
    epsilon: float,
) -> dict[str, np.ndarray]:
    """Put (y - mean) / sqrt(variance + epsilon) * scale + shift, of every output channel y, into
    kernel and bias; in float64.
    """
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    folded = kernel.transpose(2, 3, 1, 0) * factor.reshape(1, 1, 1, -1)
    return {"kernel": folded.astype(np.float32), "bias": (shift - mean * factor).astype(np.float32)}


def dense(
    weight: Float[np.ndarray, "d c"],
    bias: Float[np.ndarray, " d"],
    scale: Float[np.ndarray, " d"] | None = None,
) -> dict[str, np.ndarray]:
    """A dense layer's kernel and bias, multiplied by a scale of every output; in float64."""
    factor = np.ones(len(bias)) if scale is None else scale.astype(np.float64)
    return {
        "kernel": (weight.T * factor.reshape(1, -1)).astype(np.float32),
        "bias": (bias * factor).astype(np.float32),
    }

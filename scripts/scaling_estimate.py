"""On paper: steps per second of `sinkhorn-mnist` on many GPUs, 32 examples of each kind on each.

    python -m scripts.scaling_estimate

Operations and bytes are counted (`scripts.count_collectives sinkhorn-mnist --devices 8`), solver
iterations are from a run; what a GPU and a network do in a second is assumed, and none of it has
been measured.
"""

from __future__ import annotations

import math

# counted on 8 devices, at a batch of 256
ONCE, PER_CHECK, PER_ITERATION = 18, 23, 3  # operations
GATHERED = (3_216_384 + 32_768) / 256  # bytes an example of the batch, once a step
REDUCED = 8_501_606  # bytes of gradients and sums, once a step
VECTORS = 3 * 4  # bytes an example of the batch, in each iteration
FLOPS = 1.082e9  # of a device's networks and costs
ITERATIONS, CHECKS = 20, 2  # a step, of 20 steps with seed 0
PIXELS = 784

# assumed
SUSTAINED = 30e12  # float32 operations in a second
FLOOR = 1e-3  # seconds to launch a step's kernels
EACH = 32  # examples of each kind on a GPU
HOST = 8  # GPUs in one
WITHIN, BETWEEN = 300e9, 40e9  # bytes in a second, for each GPU
LATENCY, HOP = 10e-6, 5e-6  # seconds of an operation in a host, and for each doubling beyond


def parts(gpus: int) -> dict[str, float]:
    """The seconds of a step, by what they go to."""
    batch = EACH * gpus
    bandwidth = WITHIN if gpus <= HOST else BETWEEN
    latency = LATENCY + HOP * math.log2(max(1, gpus / HOST))
    operations = ONCE + CHECKS * PER_CHECK + ITERATIONS * PER_ITERATION
    products = 4 * 2 * batch * (batch - EACH * HOST) * PIXELS / gpus
    moved = batch * (GATHERED + ITERATIONS * VECTORS) + 2 * REDUCED
    return {
        "compute": FLOOR + (FLOPS + products) / SUSTAINED,
        "latency": operations * latency,
        "bytes": moved / bandwidth,
    }


def main() -> None:
    """Print the table of docs/guides/hosts.md."""
    print("| GPUs | batch | compute | waiting | moving bytes | steps/s | generated examples/s |")
    print("|---|---|---|---|---|---|---|")
    for gpus in (8, 16, 64, 256, 1024):
        found = parts(gpus)
        seconds = sum(found.values())
        shown = " | ".join(f"{1e3 * value:.1f} ms" for value in found.values())
        rate = f"{1 / seconds:.0f} | {EACH * gpus / seconds / 1e3:,.0f} thousand"
        print(f"| {gpus:,} | {EACH * gpus:,} | {shown} | {rate} |")


if __name__ == "__main__":
    main()

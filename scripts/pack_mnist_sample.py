"""Pack the 5,000 digits that the package carries, from a prepared MNIST: 500 of every class, the
first in TFDS's (shuffled) order.
"""

from pathlib import Path

import click
import numpy as np

from otgan.data import digits, prepared

PER_CLASS = 500


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="TFDS folder [default: TFDS_DATA_DIR, else ~/tensorflow_datasets].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("otgan/data") / digits.SAMPLE,
    show_default=True,
)
def main(data_dir: Path | None, out: Path) -> None:
    """Write the same file, byte for byte, whenever it is run on the same MNIST."""
    mnist = prepared.load("mnist", data_dir)
    chosen = np.sort(
        np.concatenate(
            [np.flatnonzero(mnist.train_labels == label)[:PER_CLASS] for label in range(10)]
        )
    )
    np.savez_compressed(out, images=mnist.train[chosen, ..., 0], labels=mnist.train_labels[chosen])
    print(f"{out}: {len(chosen)} digits, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

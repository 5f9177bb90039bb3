"""Where examples come from: the grid, MNIST and CIFAR-10 through TFDS, the embedded digits, stacked
digits, the user's own data.
"""

from otgan.data.dataset import Dataset, load, load_source, with_channels_of
from otgan.data.examples import UserExamples, as_examples
from otgan.data.form import Form
from otgan.data.ondisk import Examples, OnDisk, blocks
from otgan.data.own import picture_sizes
from otgan.data.own import read as read_user_data
from otgan.data.strata import strata
from otgan.data.truth import Truth, load_truth

__all__ = [
    "Dataset",
    "Examples",
    "Form",
    "OnDisk",
    "Truth",
    "UserExamples",
    "as_examples",
    "blocks",
    "load",
    "load_source",
    "load_truth",
    "picture_sizes",
    "read_user_data",
    "strata",
    "with_channels_of",
]

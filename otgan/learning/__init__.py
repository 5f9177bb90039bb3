"""Features of pictures that no network knows: an encoder, trained on them without labels."""

from typing import Literal, get_args

Method = Literal["variance", "contrastive"]
METHODS: tuple[str, ...] = get_args(Method)
"""What an encoder can be asked to do; `otgan.learning.methods` says what it is."""

"""What a run is: a tree of frozen models that holds every default and every check, once.

An experiment is a TOML file (`experiments/NAME.toml`); `extends` derives it from another. The
resolved tree, as JSON, is the record that a run folder keeps, and either form repeats the run.
Nothing here imports JAX.
"""

from otgan.config.data import (
    Batch,
    Data,
    Gaussian,
    Grid,
    Images,
    Mixture,
    PretrainedRun,
    Source,
    Stacked,
    UserData,
)
from otgan.config.families import (
    Convex,
    Critic,
    Drifting,
    Family,
    Neural,
    Oracle,
    Potential,
    Regularized,
    Semidiscrete,
)
from otgan.config.players import Cost, Encoder, Generator, Optimizer
from otgan.config.run import Card, Config, Loggers, Measures, Train
from otgan.config.values import (
    Adaptive,
    Amount,
    Effect,
    Section,
    Size,
    marked,
    parse_accuracy,
    parse_amount,
    parse_size,
)

__all__ = [
    "Adaptive",
    "Amount",
    "Batch",
    "Card",
    "Config",
    "Convex",
    "Cost",
    "Critic",
    "Data",
    "Drifting",
    "Effect",
    "Encoder",
    "Family",
    "Gaussian",
    "Generator",
    "Grid",
    "Images",
    "Loggers",
    "Measures",
    "Mixture",
    "Neural",
    "Optimizer",
    "Oracle",
    "Potential",
    "PretrainedRun",
    "Regularized",
    "Section",
    "Semidiscrete",
    "Size",
    "Source",
    "Stacked",
    "Train",
    "UserData",
    "marked",
    "parse_accuracy",
    "parse_amount",
    "parse_size",
]

"""Versions of what a score depends on and its protocol's other words do not say. No JAX.

A version is raised where the same examples come to get other numbers, and only there: a docstring,
a faster loop or a release of the package leaves it. Scores made by different versions are not
compared, and what was cached by another is computed anew. `tests/evaluation/test_golden.py` holds
numbers, and fails where they change under an old version. Those of measures stand with them, in
`otgan.results.declared`.
"""

SAMPLING = 1
"""Which examples a seed and a size stand for: `otgan.sampling.draw`,
`otgan.evaluation.stats.real_examples`.
"""
TRANSPORT = 2
"""The solver of entropic transport, as far as measures use it: `otgan.oracles.entropic`,
`otgan.oracles.bracket`.
"""
NETWORKS = {
    "points": 1,
    "pixels": 1,
    "random": 1,
    "mnist-lenet": 1,
    "mnist-allconv": 1,
    "cifar10-resnet": 1,
    "cifar10-allconv": 1,
    "inception": 1,
    "dinov2-s": 1,
    "dinov2-b": 1,
    "dinov2-l": 1,
    "resnet50": 1,
    "encoder": 1,
}
"""How each kind of feature network looks at examples: what is done to them before, its layers, what
of it is taken as features. Its weights are told by their hash.
"""

"""Small runs for tests."""

from otgan import data, experiments
from otgan.assembly import assemble
from otgan.loop import train
from otgan.results.ending import accounted
from otgan.runs import RunFolder

TINY = {
    "batch.size": 32,
    "generator.width": 16,
    "train.steps": 40,
    "train.pictures": 2,
    "data.side": 2,
    "data.size": 2_000,
}


ENCODER = {"kind": "mlp", "features": 8, "width": 16, "generator_updates": 2, "encoder_updates": 1}
NETWORK = {"kind": "mlp", "width": 16, "depth": 2}
DIGITS = {
    "data": {"kind": "mnist", "source": "sample"},
    "generator.depth": 1,
    "cost.kept": "float16",
}

# too little memory for matrices of all pairs
ONLINE = ("sinkhorn-grid", {"oracle.max_memory": "70KB", "batch.size": 64})
FAMILIES = {  # one of each kind, small enough to try
    "entropic": ("sinkhorn-grid", {}),
    "relaxed": ("relaxed-grid", {}),  # stratified, sobol
    "quadratic": ("regot-l2-grid", {}),
    "energy, learned cost": (
        "ot-gan-grid",
        {"cost.encoder": ENCODER, "oracle.lam": 0.1, "oracle.epsilon": 0.01},
    ),
    "fixed features": (
        "sinkhorn-grid",
        {
            "cost.features": "random",
            "cost.encoder": ENCODER,
            "oracle.lam": 0.1,
            "oracle.epsilon": 0.01,
        },
    ),
    "independent self term": (
        "sinkhorn-grid",
        {"oracle.self_term": "independent", "batch.reals": 64},
    ),
    "warm start": ("regot-grid", {"oracle.warm_start": True}),
    "independent self terms, learned cost": (
        "ot-gan-grid",
        {
            "oracle.loss": "sinkhorn",
            "oracle.self_term": "independent",
            "cost.encoder": ENCODER,
            "oracle.lam": 0.1,
            "oracle.epsilon": 0.01,
        },
    ),
    "layers": ("feature-mnist", {**DIGITS, "cost.features": "random:conv_1@2+conv_2@2"}),
    "layers apart": (
        "feature-mnist",
        {
            **DIGITS,
            "cost.features": "random:pixels+conv_2@1",
            "cost.groups": "separate",
            "batch.reals": 40,
        },
    ),
    "semidiscrete": ("semidiscrete-grid", {}),
    "convex": ("convex-grid", {"oracle.width": 8, "oracle.depth": 2}),
    "map": (
        "convex-map",
        {
            "source": {"kind": "grid", "side": 3, "size": 2_000},
            "data": {"kind": "grid"},
            "oracle.width": 8,
        },
    ),
    "neural kl": ("neural-grid", {"oracle.potential": NETWORK}),
    "neural l2": ("neural-grid", {"oracle.potential": NETWORK, "oracle.regularizer": "l2"}),
    "critic": ("wgan-gp-grid", {"oracle.critic": NETWORK}),
    "drifting": ("drifting-grid", {}),
    "drifting, features": ("drifting-grid", {"cost.features": "random", "cost.encoder": ENCODER}),
}

# an epsilon that sets itself: a family of its own in nothing but that
CALIBRATED = (
    "regot-grid",
    {"oracle.warm_start": True, "oracle.epsilon": "calibrated", "oracle.lam": "0.05x"},
)


class Silent:
    """A show that shows nothing."""

    def note(self, text):
        pass

    def begin(self, progress, resumed):
        self.resumed = resumed

    def advance(self, progress):
        pass


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


def tiny_config(name="sinkhorn-grid", /, **changes):
    return experiments.resolve(name, {**TINY, **changes})


def dataset(config):
    return data.load(config.data)


def setup(config, devices=None):
    """A config put together."""
    return assemble(config, devices=devices)


def run(config, path, show=None):
    """Train in a folder, new or begun."""
    folder = RunFolder(path)
    if not folder.exists:
        path.mkdir()
        folder.create(config.json())
    with accounted(folder):
        return folder, train(setup(config), folder, show or Silent())

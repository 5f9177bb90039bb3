"""The table of measures: what each is computed from, how many examples it needs and looks at, and
of which data it cannot be had.
"""

from __future__ import annotations

from otgan import plugins
from otgan.data import Dataset
from otgan.evaluation import compute
from otgan.evaluation.measure import Measure
from otgan.evaluation.plan import KINDS
from otgan.features import DIGIT_READERS, Features
from otgan.metrics.frechet import needed_infinity
from otgan.metrics.neighbors import MEMORIZATION_SAMPLES
from otgan.metrics.points import COUNTED, MOST_MATCHED
from otgan.results import declared

EXACT = 2_000  # the assignment problem takes seconds at this size, and grows with its cube
SETS = 4  # of so many points, whose mean W2 is a score: one set's scatters by a tenth and more
TO_ALL = 1_000
LABELED = 2_000  # samples whose nearest training examples are looked for


def _no_classes(dataset: Dataset, features: Features) -> str:
    if features.name in DIGIT_READERS and dataset.shape[-1] > 1:
        return (
            f"{features.name} knows the classes of each channel by itself; the score is of one"
            " distribution over classes: see --modes"
        )
    return (
        ""
        if features.classifies
        else f"the features {features.name} know no classes: choose those of a classifier"
    )


def _no_centers(dataset: Dataset, features: Features) -> str:
    return "" if dataset.centers is not None else "these data have no known modes"


def _no_labels(dataset: Dataset, features: Features) -> str:
    return "" if dataset.labels is not None else "these data have no labels"


def _no_digits(dataset: Dataset, features: Features) -> str:
    readers = " or ".join(DIGIT_READERS)
    return (
        ""
        if features.name in DIGIT_READERS
        else f"modes are counted on the grid, by {readers} on digits and stacked digits, and by the"
        " labels of data of your own (--label, or subfolders)"
    )


def _no_images(dataset: Dataset, features: Features) -> str:
    return "" if dataset.is_images else "the examples are points, of which more are looked at"


def _no_points(dataset: Dataset, features: Features) -> str:
    return "the examples are images, of which fewer are looked at" if dataset.is_images else ""


def _on_disk(dataset: Dataset, features: Features) -> str:
    return "all training examples are on the disk (data.max_memory)" if dataset.on_disk else ""


MEASURES: tuple[Measure, ...] = (
    Measure(declared.FD, "fid", compute.fid, needed=lambda features: features.dimension, most=None),
    Measure(
        declared.FD_INFINITY,
        "fid",
        compute.fid_infinity,
        needed=lambda features: needed_infinity(features.dimension),
        all_real=True,
        companion=True,
    ),
    Measure(
        declared.KERNEL,
        "kid",
        compute.kid,
        needed=lambda features: compute.KID["size"],
        settings=compute.KID,
    ),
    Measure(
        declared.INCEPTION,
        "is",
        compute.inception,
        needed=lambda features: 1_000,
        most=None,
        alone=True,
        settings=compute.IS,
        lacks=_no_classes,
    ),
    Measure(
        declared.MANIFOLD,
        "pr",
        compute.manifold,
        needed=lambda features: 1_000,
        settings=compute.PR,
        lacks=_no_images,
    ),
    Measure(
        declared.MANIFOLD_OF_POINTS,
        "pr",
        compute.manifold_of_sets,
        of="values",
        needed=lambda features: 1_000,
        most=EXACT,
        sets=SETS,
        settings={**compute.PR, "sets": SETS},
        at_end=True,
        lacks=_no_points,
    ),
    Measure(
        declared.EXACT,
        "wasserstein",
        compute.exact,
        of="values",
        needed=lambda features: EXACT,
        most=EXACT,
        sets=1,
        lacks=_no_images,
    ),
    Measure(
        declared.EXACT_L1,
        "wasserstein",
        compute.exact_l1,
        of="values",
        needed=lambda features: EXACT,
        most=EXACT,
        sets=1,
        lacks=_no_images,
    ),
    Measure(
        declared.EXACT_W1,
        "wasserstein",
        compute.exact_w1,
        of="values",
        needed=lambda features: EXACT,
        most=EXACT,
        sets=SETS,
        settings={"sets": SETS},
        lacks=_no_points,
    ),
    Measure(
        declared.EXACT_W2,
        "wasserstein",
        compute.exact_w2,
        of="values",
        needed=lambda features: EXACT,
        most=EXACT,
        sets=SETS,
        settings={"sets": SETS},
        at_end=True,
        lacks=_no_points,
    ),
    Measure(declared.SLICED, "wasserstein", compute.sliced, of="values", settings=compute.SLICED),
    Measure(
        declared.DIVERGENCE,
        "wasserstein",
        compute.divergence,
        needed=lambda features: EXACT,
        most=EXACT,
        settings=compute.SINKHORN,
        solver=True,
    ),
    Measure(
        declared.W2_TRAIN,
        "wasserstein",
        compute.to_all,
        of="values",
        needed=lambda features: TO_ALL,
        most=TO_ALL,
        whole=True,
        solver=True,
        lacks=_on_disk,
    ),
    Measure(
        declared.GRID_MODES,
        "modes",
        compute.grid_modes,
        of="values",
        most=MOST_MATCHED,
        at_end=True,
        lacks=_no_centers,
    ),
    Measure(
        declared.GRID_MASSES,
        "modes",
        compute.grid_masses,
        of="values",
        most=COUNTED,
        at_end=True,
        lacks=_no_centers,
    ),
    Measure(
        declared.GRID_WIDTHS,
        "modes",
        compute.grid_widths,
        of="values",
        most=COUNTED,
        at_end=True,
        lacks=_no_centers,
    ),
    Measure(
        declared.LABELS,
        "modes",
        compute.labels,
        of="values",
        most=LABELED,
        whole=True,
        labeled=True,
        lacks=_no_labels,
    ),
    Measure(declared.CLASS_MODES, "modes", compute.class_modes, most=None, lacks=_no_digits),
    Measure(
        declared.MEMORIZATION,
        "nearest",
        compute.memory,
        of="values",
        needed=lambda features: MEMORIZATION_SAMPLES,
        most=MEMORIZATION_SAMPLES,
        whole=True,
    ),
)


def of_flag(flag: str) -> list[Measure]:
    """The measures that an option asks for: of the table, or of another package.

    Raises:
        UserError: the package cannot be imported, or brings something else.
    """
    if flag in KINDS:
        return [measure for measure in MEASURES if measure.flag == flag]
    brought = plugins.load(plugins.Kind.MEASURE, flag)
    measures = (
        [brought]
        if isinstance(brought, Measure)
        else [*brought]
        if isinstance(brought, list | tuple)
        else []
    )
    if not measures or not all(
        isinstance(measure, Measure) and measure.flag == flag for measure in measures
    ):
        raise plugins.refuse(
            plugins.Kind.MEASURE,
            flag,
            f"it must be one or more otgan.evaluation.measure.Measure with flag {flag!r}",
        )
    return measures

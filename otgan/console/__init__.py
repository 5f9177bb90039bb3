"""What a person sees: a live bar on a terminal, plain lines elsewhere, and tables at the end."""

from otgan.console.describe import describe
from otgan.console.diagnosis import print_diagnosis
from otgan.console.progress import LINE_SECONDS, ProgressBar, Spinner, clock
from otgan.console.scores import compared_marks, compared_table, print_scores
from otgan.console.summary import push_errors, summary_table
from otgan.console.tables import grouped_tables, plain_table

__all__ = [
    "LINE_SECONDS",
    "ProgressBar",
    "Spinner",
    "clock",
    "compared_marks",
    "compared_table",
    "describe",
    "grouped_tables",
    "plain_table",
    "print_diagnosis",
    "print_scores",
    "push_errors",
    "summary_table",
]

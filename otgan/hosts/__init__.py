"""Several processes that train one run, on one host or on many. JAX is begun in
`service`, when all are there.

Process 0 leads: it alone decides, reads and writes the run's folder. The others follow: they take
the same steps when they are told to, and nothing else. So whatever depends on a clock, a signal or
a disk is decided once. One process alone is the leader of nobody.
"""

from otgan.hosts.company import ALONE, EndedError, Hosts
from otgan.hosts.joining import joined
from otgan.hosts.place import WAIT, Place, find_place

__all__ = ["ALONE", "WAIT", "EndedError", "Hosts", "Place", "find_place", "joined"]

"""What checks annotations as tests run: beartype, to which an int is a float, as it is to type
checkers.
"""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))

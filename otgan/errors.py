"""What is the user's to mend, and what the user should know."""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Of an `OSError`: there is no more room."""


class UserError(Exception):
    """A mistake or a lack that a user can mend: one sentence saying what is wrong and what to do.

    Commands exit with code 2.
    """


class DamagedWarning(UserWarning):
    """Something could not be read, and another took its place."""

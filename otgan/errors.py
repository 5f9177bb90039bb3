"""The one exception that is the user's to mend."""


class UserError(Exception):
    """A mistake or a lack that a user can mend: one sentence saying what is wrong and what to do.

    Commands exit with code 2.
    """

"""The exceptions a user is meant to read."""


class UserError(Exception):
    """A mistake of the user's, told in one sentence.

    The sentence names the key or file, what was given and what is allowed. The command line prints it without a
    traceback and ends with exit code 2.
    """


class RunFailedError(Exception):
    """A run that cannot go on, told in one sentence; what it had reached is on disk. Exit code 1."""

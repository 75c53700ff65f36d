"""One exception for everything a user can put right: its message is one clear sentence."""


class UserError(ValueError):
    """Bad input. The command line prints the message alone and ends with exit status 2."""

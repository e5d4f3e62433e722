"""What a user sees instead of a traceback, and how a job is asked to stop."""


class InputError(ValueError):
    """Says what is wrong with what the user gave, where, and what would be right."""


class Stopped(BaseException):
    """Raised by a check when a job is to stop; its state is saved on its way out."""

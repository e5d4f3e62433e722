"""The one exception that a user sees as a sentence instead of a traceback."""


class InputError(ValueError):
    """Says what is wrong with what the user gave, where, and what would be right."""

"""What checks signatures while tests run: jaxtyping's import hook with beartype."""

from collections.abc import Callable
from typing import TypeVar

import beartype

Function = TypeVar("Function", bound=Callable)

# As type checkers have it: an int may stand where a float is declared.
_check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def check(function: Function) -> Function:
    """Checks calls of a function; making a record checks itself.

    Records of a user's settings say in a sentence what is wrong with them, which a
    check of their types would forestall.
    """
    if function.__name__ == "__init__":
        return function
    return _check(function)

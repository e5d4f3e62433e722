"""What a prompt method is: two pure functions for one lane."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int

Trainables = dict[str, Array]


class Context(NamedTuple):
    """What a method sees besides what it trains.

    The lanes of a seed share `p_init` and `sources`; the others are a lane's own.
    """

    p_init: Float[Array, "P H"]
    sources: Float[Array, "S P H"]  # task prompt vectors, frozen; S may be 0
    start: Float[Array, "P H"]  # the prompt that training starts from
    available: Bool[Array, " S"]  # False: not for this lane (it is the target itself)


class Method(NamedTuple):
    """How trainables and sources become a prompt.

    init(context) -> (trainables, memory): arrays under the names of their learning
        rates ("prompt", "target_scale", "source_scales"), and what the method keeps
        between steps without training it.
    prompt(trainables, memory, context, step) -> (prompt [P, H], memory, diagnostics):
        what stands in front of the tokens at this step, and what is worth logging.
    """

    init: Callable[[Context], tuple[Trainables, Any]]
    prompt: Callable[
        [Trainables, Any, Context, Int[Array, ""]],
        tuple[Float[Array, "P H"], Any, dict[str, Array]],
    ]

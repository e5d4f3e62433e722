"""What a prompt method is: two pure functions for one lane, and what is said of it."""

import enum
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from jaxtyping import Array, Bool, Float, Int, PyTree

Trainables: TypeAlias = dict[str, Array]
# What a method keeps from step to step without training it; its structure is its own.
MethodState: TypeAlias = PyTree[Array]
Diagnostics: TypeAlias = dict[str, Array]


class Context(NamedTuple):
    """What a method sees of one lane besides what it trains."""

    p_init: Float[Array, "P H"]
    sources: Float[Array, "S P H"]  # task prompt vectors, frozen; S may be 0
    start: Float[Array, "P H"]  # the prompt that training starts from
    available: Bool[Array, " S"]  # False: not for this lane (it is the target itself)


class Method(NamedTuple):
    """How trainables and sources become a prompt.

    init(context) -> (trainables, method state): arrays under the names of their
        learning rates ("prompt", "target_scale", "source_scales"), and what the method
        keeps between steps without training it.
    prompt(trainables, method state, context, step)
        -> (prompt [P, H], method state, diagnostics): what stands in front of the
        tokens at this step, and what is worth logging.
    """

    init: Callable[[Context], tuple[Trainables, MethodState]]
    prompt: Callable[
        [Trainables, MethodState, Context, Int[Array, ""]],
        tuple[Float[Array, "P H"], MethodState, Diagnostics],
    ]


class Start(enum.Enum):
    """The prompt that a lane of stage 2 starts from."""

    OWN = "the target's own prompt of stage 1"
    MOST_SIMILAR_SOURCE = "the prompt of the source most similar to the target's"
    BEST_VALIDATED_SOURCE = "the source's prompt that validates best on the target"


class Registered(NamedTuple):
    """A method as users name it.

    Lanes whose `method` is the same object are trained in one program: `start` is an
    array to that program and no part of it.
    """

    method: Method
    description: str  # a line for the report
    start: Start = Start.OWN
    most_sources: int | None = None  # that it can take; None: any number

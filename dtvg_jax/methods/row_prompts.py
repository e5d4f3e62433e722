"""What stands in front of rows: a prompt for all of them, or one for each row.

A prompt for each row is made where the rows are, by the method that learned it, so all
that it is made of goes along: to decoding, and into the store.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from dtvg_jax.methods.method import Context, Method, Trainables

_TRAINABLE, _CONTEXT = "row.trainables.", "row.context."


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["prompt", "trainables", "context"],
    meta_fields=["method"],
)
@dataclasses.dataclass(frozen=True)
class RowPrompt:
    """What a method that looks at rows makes the prompts of one lane's rows of."""

    method: Method
    prompt: Float[Array, "P H"]  # what `Method.prompt` gave
    trainables: Trainables
    context: Context

    def of_rows(
        self, tokens: Float[Array, "B T H"], real: Bool[Array, "B T"]
    ) -> Float[Array, "B P H"]:
        """Makes the prompt of each row from its embedded input."""

        def one(tokens: Float[Array, "T H"], real: Bool[Array, " T"]) -> Array:
            return self.method.row_prompt(
                self.prompt, self.trainables, self.context, tokens, real
            )

        return jax.vmap(one)(tokens, real)


class Prompts(NamedTuple):
    """K prompts. Those that are made anew for each row are in `looking` by their place.

    The array of such a prompt is the lane's own, before the method looks at a row.
    """

    arrays: Float[Array, "K P H"] | Float[np.ndarray, "K P H"]
    looking: Mapping[int, RowPrompt] = {}


def as_arrays(made_of: RowPrompt) -> dict[str, np.ndarray]:
    """Gives by name what an entry holds beside "prompt" to make rows' prompts."""
    named = {_TRAINABLE + name: x for name, x in made_of.trainables.items()}
    named |= {_CONTEXT + name: x for name, x in made_of.context._asdict().items()}
    return {name: np.asarray(x) for name, x in named.items()}


def are_in(arrays: Mapping[str, np.ndarray]) -> bool:
    """Tells whether an entry's arrays are those of prompts that look at rows."""
    return _CONTEXT + "sources" in arrays


def from_arrays(method: Method, arrays: Mapping[str, np.ndarray]) -> RowPrompt:
    """Undoes `as_arrays`; the arrays stay where they are until they are used."""
    held = cast(Mapping[str, Array], arrays)
    trainables = {
        name.removeprefix(_TRAINABLE): x
        for name, x in held.items()
        if name.startswith(_TRAINABLE)
    }
    context = Context(*(held[_CONTEXT + name] for name in Context._fields))
    return RowPrompt(method, held["prompt"], trainables, context)

"""ATTEMPT: an attentional mixture of prompts for each row (arXiv 2205.11961).

Of the sources' frozen prompts P_1 .. P_S, the target's own P_t, and the maximum x over
the embedded tokens of a row it makes

    h = LayerNorm(W_up SiLU(W_down x))
    a = softmax over j of (maximum of P_j over its rows) . h / T
    prompt = P_t + sum over j of a_j P_j

where j is each of 1 .. S and t. P_t, W_down, W_up and the norm's scale and bias are
trained. As in the released code W_down gives 100 numbers, weights are drawn with
deviation 0.01, no other biases are there, and T = H exp(tau) with tau = 1 (its 2087 for
H = 768).

Not as there: x is of real tokens only, where the code takes the padding too; each lane
has an attention of its own, as in the paper's single-task training; and without any
source to attend to the prompt is P_t, not twice P_t.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dtvg_jax.errors import Count, Rate
from dtvg_jax.methods.method import PER_LANE, Context, Start, Trainables
from dtvg_jax.methods.prompt_tuning import Tuned

_DEVIATION = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt(Tuned):
    """Trains the target's prompt, and the attention that mixes it with the sources'.

    Attributes:
      size: numbers between W_down and W_up.
      tau: logarithm of the temperature, relative to the width.
      attention_rate: peak rate of the attention, as a multiple of the stage's rate.
    """

    # The target's prompt is new in the paper. The steps of the own one are made up for.
    start: Start = dataclasses.field(default=Start.P_INIT, metadata=PER_LANE)
    size: Count = 100
    tau: float = 1.0
    attention_rate: Rate = dataclasses.field(default=1.0, metadata=PER_LANE)

    called = "attempt"
    about = (
        "the target's prompt plus a mean of it and the sources' prompts, which a "
        "network weighs for each row by its input"
    )
    merges_sources = True
    looks_at_rows = True

    def rates(self, learning_rate: float) -> dict[str, float]:
        """Gives the attention a multiple of the stage's rate."""
        attention = ("down", "up", "norm_scale", "norm_bias")
        return super().rates(learning_rate) | dict.fromkeys(
            attention, self.attention_rate * learning_rate
        )

    def init(self, context: Context) -> tuple[Trainables, tuple[()]]:
        """Draws the weights by the lane's seed."""
        width = context.start.shape[1]
        down, up = jax.random.split(jax.random.key(context.seed))
        return {
            "prompt": context.start,
            "down": _DEVIATION * jax.random.normal(down, (width, self.size)),
            "up": _DEVIATION * jax.random.normal(up, (self.size, width)),
            "norm_scale": jnp.ones(width),
            "norm_bias": jnp.zeros(width),
        }, ()

    def row_prompt(
        self,
        prompt: Float[Array, "P H"],
        trainables: Trainables,
        context: Context,
        tokens: Float[Array, "T H"],
        real: Bool[Array, " T"],
    ) -> Float[Array, "P H"]:
        """Adds to the target's prompt what the row attends to."""
        query = _query(trainables, tokens, real)
        # Products one by one: joined, all prompts would be copied for every row.
        sources = jnp.max(context.p_init[None] + context.sources, axis=1) @ query
        scores = jnp.append(sources, jnp.max(prompt, axis=0) @ query)
        usable = jnp.append(context.available, True)
        temperature = query.shape[0] * math.exp(self.tau)
        weights = jax.nn.softmax(jnp.where(usable, scores / temperature, -jnp.inf))
        weights *= jnp.any(context.available)
        mixed = jnp.einsum("s,sph->ph", weights[:-1], context.sources)
        mixed += jnp.sum(weights[:-1]) * context.p_init + weights[-1] * prompt
        return prompt + mixed


def _query(
    trainables: Trainables, tokens: Float[Array, "T H"], real: Bool[Array, " T"]
) -> Float[Array, " H"]:
    """Makes what prompts are compared with."""
    seen = jnp.where(real[:, None], tokens.astype(jnp.float32), -jnp.inf)
    # A row that only fills a block has no token.
    largest = jnp.where(jnp.any(real), jnp.max(seen, axis=0), 0)
    hidden = jax.nn.silu(largest @ trainables["down"]) @ trainables["up"]
    normed = jax.nn.standardize(hidden, epsilon=1e-5)
    return trainables["norm_scale"] * normed + trainables["norm_bias"]


METHODS = [Attempt()]

"""The target stage of multitask prompt tuning (arXiv 2303.02861).

The prompt is a shared one times a rank-one matrix of the task, number by number. MPT
learns the shared prompt in a stage of its own: on the rows of all sources together,
with factors for each source, and with the sources' own prompts as teachers. Here it
begins as the mean of the sources' prompts ("mpt"), or as the prompt of the job's
mixture ("mpt_mixture"), which is learned on the rows of all its tasks together, but
without factors and teachers.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dtvg_jax.errors import Rate
from dtvg_jax.methods.method import (
    PER_LANE,
    Context,
    Diagnostics,
    Method,
    Start,
    Trainables,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mpt(Method):
    """Trains the shared prompt and the task's two factors.

    Attributes:
      factor_rate: peak rate of the factors, as a multiple of the stage's rate.
    """

    # The target's own prompt takes no part, so the steps that it took are made up for.
    start: Start = dataclasses.field(default=Start.P_INIT, metadata=PER_LANE)
    factor_rate: Rate = dataclasses.field(default=1.0, metadata=PER_LANE)

    called = "mpt"
    about = "the mean of the sources' prompts, times rank-one factors of the task"
    merges_sources = True

    def rates(self, learning_rate: float) -> dict[str, float]:
        """Gives the factors a multiple of the stage's rate."""
        factors = self.factor_rate * learning_rate
        return {"prompt": learning_rate, "row_factor": factors, "width_factor": factors}

    def init(self, context: Context) -> tuple[Trainables, tuple[()]]:
        """Starts with factors of one; without a source, from the lane's start."""
        count = jnp.sum(context.available)
        summed = jnp.einsum("s,sph->ph", context.available * 1.0, context.sources)
        shared = context.p_init + summed / jnp.maximum(count, 1)
        return _begun(jnp.where(count > 0, shared, context.start)), ()

    def prompt(
        self,
        trainables: Trainables,
        method_state: tuple[()],
        context: Context,
        step: Int[Array, ""],
    ) -> tuple[Float[Array, "P H"], tuple[()], Diagnostics]:
        """Multiplies: P* o (u v^T)."""
        del context, step
        factors = jnp.outer(trainables["row_factor"], trainables["width_factor"])
        return trainables["prompt"] * factors, method_state, {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MptMixture(Mpt):
    """Takes the lane's start, the prompt of the job's mixture, for the shared one."""

    start: Start = dataclasses.field(default=Start.MIXTURE, metadata=PER_LANE)

    called = "mpt_mixture"
    about = (
        "one prompt learned on a mixture of tasks, times rank-one factors of the task"
    )
    merges_sources = False

    def init(self, context: Context) -> tuple[Trainables, tuple[()]]:
        """Starts with factors of one."""
        return _begun(context.start), ()


def _begun(shared: Float[Array, "P H"]) -> Trainables:
    length, width = shared.shape
    return {
        "prompt": shared,
        "row_factor": jnp.ones(length, shared.dtype),
        "width_factor": jnp.ones(width, shared.dtype),
    }


METHODS = [Mpt(), MptMixture()]

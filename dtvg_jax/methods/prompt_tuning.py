"""Plain prompt tuning; from a source's prompt it is SPoT (arXiv 2110.07904)."""

import dataclasses

from jaxtyping import Array, Float, Int

from dtvg_jax.methods.method import (
    Context,
    Diagnostics,
    Method,
    Start,
    Trainables,
)

_BY_START = {
    Start.OWN: (
        "prompt_tuning",
        "the target's own prompt, tuned further; no source takes part",
    ),
    Start.P_INIT: ("from_p_init", "prompt tuning from the initial prompt"),
    Start.MOST_SIMILAR_SOURCE: (
        "spot",
        "starts from the prompt of the most similar source",
    ),
    Start.BEST_VALIDATED_SOURCE: (
        "best_source",
        "starts from the prompt of the source that validates best as it is",
    ),
    Start.MIXTURE: (
        "combined_sources",
        "starts from one prompt learned on a mixture of tasks",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned(Method):
    """Trains a prompt that is used as it is."""

    def prompt(
        self,
        trainables: Trainables,
        method_state: tuple[()],
        context: Context,
        step: Int[Array, ""],
    ) -> tuple[Float[Array, "P H"], tuple[()], Diagnostics]:
        """Gives the prompt as it is."""
        del context, step
        return trainables["prompt"], method_state, {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptTuning(Tuned):
    """Trains a prompt; the start names the method."""

    @property
    def name(self) -> str:
        """The name of the start."""
        return _BY_START[self.start][0]

    @property
    def description(self) -> str:
        """Says where the prompt starts from."""
        return _BY_START[self.start][1]

    def init(self, context: Context) -> tuple[Trainables, tuple[()]]:
        """Trains the prompt alone."""
        return {"prompt": context.start}, ()


METHODS = [PromptTuning(start=start) for start in Start]

"""Plain prompt tuning; from a source's prompt it is SPoT (arXiv 2110.07904)."""

from jaxtyping import Array, Float, Int

from dtvg_jax.methods.method import (
    Context,
    Diagnostics,
    Method,
    Registered,
    Start,
    Trainables,
)


def _init(context: Context) -> tuple[Trainables, tuple[()]]:
    return {"prompt": context.start}, ()


def _prompt(
    trainables: Trainables,
    method_state: tuple[()],
    context: Context,
    step: Int[Array, ""],
) -> tuple[Float[Array, "P H"], tuple[()], Diagnostics]:
    del context, step
    return trainables["prompt"], method_state, {}


_TUNING = Method(_init, _prompt)

METHODS = {
    "prompt_tuning": Registered(
        _TUNING, "the target's own prompt, tuned further; no source takes part"
    ),
    "spot": Registered(
        _TUNING,
        "starts from the prompt of the most similar source",
        Start.MOST_SIMILAR_SOURCE,
    ),
    "best_source": Registered(
        _TUNING,
        "starts from the prompt of the source that validates best as it is",
        Start.BEST_VALIDATED_SOURCE,
    ),
}

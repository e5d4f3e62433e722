"""Plain prompt tuning; with another start, SPoT."""

from jaxtyping import Array, Float, Int

from dtvg_jax.methods.method import Context, Method, Trainables


def _init(context: Context) -> tuple[Trainables, tuple[()]]:
    return {"prompt": context.start}, ()


def _prompt(
    trainables: Trainables, memory: tuple[()], context: Context, step: Int[Array, ""]
) -> tuple[Float[Array, "P H"], tuple[()], dict[str, Array]]:
    del context, step
    return trainables["prompt"], memory, {}


prompt_tuning = Method(_init, _prompt)

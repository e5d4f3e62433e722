"""Optimisers of one lane and its learning-rate schedule; lanes are added by `vmap`.

An optimiser here is an optax transformation that ends before the learning rate: rates
differ between the arrays of a lane and between lanes, so the step multiplies them in.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from dtvg_jax.errors import unknown

CLIP = 1.0  # global norm over what a lane trains; the reference's default


class Rates(NamedTuple):
    """The learning rates of K lanes: peak per trained array, warm-up, end of decay.

    Mapped over lanes, one lane's own numbers.
    """

    peak: dict[str, Float[Array, "*K"]]
    warmup: Int[Array, "*K"]
    steps: Int[Array, "*K"]


def linear_schedule(
    step: Int[Array, ""], warmup: Int[Array, ""], steps: Int[Array, ""]
) -> Float[Array, ""]:
    """Rises from 0 over `warmup` steps, then falls to 0 at `steps` (transformers')."""
    rise = step / jnp.maximum(warmup, 1)
    fall = (steps - step) / jnp.maximum(steps - warmup, 1)
    return jnp.clip(jnp.where(step < warmup, rise, fall), 0.0, 1.0)


def scale_by_adam_unscaled_eps(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6
) -> optax.GradientTransformation:
    """Adam with eps beside the uncorrected sqrt(v), as transformers' own AdamW.

    optax adds eps after the bias correction; early steps differ where v is small.
    """

    def update(
        updates: optax.Updates,
        state: PyTree[Array],
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, PyTree[Array]]:
        del params
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        correction = jnp.sqrt(1 - b2**count) / (1 - b1**count)
        scaled = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + eps), mu, nu)
        return scaled, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2, eps).init, update)


# The reference's stage 1 is torch's AdamW with weight decay on the prompt; its stage 2
# is transformers' own, where the decay of the command line never arrives.
OPTIMISERS: dict[str, optax.GradientTransformationExtraArgs] = {
    "adamw_stage1": optax.chain(
        optax.clip_by_global_norm(CLIP),
        optax.scale_by_adam(eps=1e-8),
        optax.add_decayed_weights(1e-5),
    ),
    "adamw_stage2": optax.chain(
        optax.clip_by_global_norm(CLIP), scale_by_adam_unscaled_eps()
    ),
    "adafactor": optax.chain(
        optax.clip_by_global_norm(CLIP),
        optax.scale_by_factored_rms(),
        optax.clip_by_block_rms(1.0),
    ),
}


def by_name(name: str) -> optax.GradientTransformationExtraArgs:
    """Finds an optimiser; raises InputError that lists them."""
    if name not in OPTIMISERS:
        raise unknown("optimiser", name, OPTIMISERS)
    return OPTIMISERS[name]

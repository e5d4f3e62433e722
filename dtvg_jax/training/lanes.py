"""Many prompts in one program: the state of K lanes and the step that trains them.

The backbone is frozen, so lanes meet only in its matrix products: the loss is the sum
over lanes of each lane's own mean token loss, and gradients are those of K single runs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from dtvg_jax.methods import Context, Method
from dtvg_jax.models.backbone import Backbone, token_loss
from dtvg_jax.shapes import Params
from dtvg_jax.training import optimisers

Batch = dict[str, Array]


class Best(NamedTuple):
    """The best validated step of each lane, and the prompt it had."""

    score: Float[Array, " K"]  # -inf: not validated yet
    step: Int[Array, " K"]
    prompt: Float[Array, "K P H"]  # as it enters the backbone: merged
    trainables: dict[str, Array]
    memory: Any


class State(NamedTuple):
    """All that a step changes."""

    step: Int[Array, ""]
    trainables: dict[str, Array]  # [K, ...] each
    memory: Any
    optimiser: Any
    alive: Bool[Array, " K"]  # False from a lane's first non-finite number on
    best: Best


class Fixed(NamedTuple):
    """What a step reads and never changes, besides the backbone's parameters.

    `context.p_init` is [G, P, H] and `context.sources` [G, S, P, H], one for each of G
    groups of neighbouring lanes (a seed's); the rest of `context` is per lane.
    """

    context: Context
    rates: optimisers.Rates
    keys: Array  # [K], a random key per lane


StepFn = Callable[[State, Params, Fixed, Batch], tuple[State, dict[str, Array]]]


def init(
    method: Method, optimiser: optax.GradientTransformation, context: Context
) -> State:
    """Makes the state before the first step."""
    trainables, memory = _over_lanes(method.init, context)(context)
    step = jnp.zeros((), jnp.int32)
    lanes = trainables["prompt"].shape[0]
    prompt, memory, _ = prompts(method, trainables, memory, context, step)
    best = Best(
        score=jnp.full(lanes, -jnp.inf),
        step=jnp.zeros(lanes, jnp.int32),
        prompt=prompt,
        trainables=trainables,
        memory=memory,
    )
    alive = jnp.ones(lanes, bool)
    state = jax.vmap(optimiser.init)(trainables)
    # Copies, because a donated state must not hold one array twice.
    return jax.tree.map(jnp.copy, State(step, trainables, memory, state, alive, best))


def prompts(
    method: Method,
    trainables: dict[str, Array],
    memory: Any,
    context: Context,
    step: Int[Array, ""],
) -> tuple[Float[Array, "K P H"], Any, dict[str, Array]]:
    """Makes every lane's prompt."""

    def one(trainables, memory, context):
        return method.prompt(trainables, memory, context, step)

    return _over_lanes(one, context)(trainables, memory, context)


_AXES_IN_GROUP: Any = (None, None, 0, 0)  # of a Context


def _over_lanes(function: Callable[..., Any], context: Context) -> Callable[..., Any]:
    """Maps over lanes; what a group shares is not copied for each of its lanes."""
    groups = context.p_init.shape[0]

    def fold(tree: Any) -> Any:
        def split(x: Array) -> Array:  # no -1: the size may be 0, of no source
            return x.reshape(groups, x.shape[0] // groups, *x.shape[1:])

        return jax.tree.map(split, tree)

    def unfold(tree: Any) -> Any:
        def join(x: Array) -> Array:
            return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])

        return jax.tree.map(join, tree)

    def mapped(*arguments: Any) -> Any:
        *own, context = arguments
        folded = context._replace(
            start=fold(context.start), available=fold(context.available)
        )
        rest = [fold(argument) for argument in own]
        lanes = [0] * len(rest)
        inner = jax.vmap(function, in_axes=(*lanes, Context(*_AXES_IN_GROUP)))
        outer = jax.vmap(inner, in_axes=(*lanes, 0))
        return unfold(outer(*rest, folded))

    return mapped


def make_step(
    backbone: Backbone,
    method: Method,
    optimiser: optax.GradientTransformation,
    *,
    dropout: bool,
) -> StepFn:
    """Builds the train step, pure, not yet jitted.

    The metrics are "loss" and "grad_norm" [K], and the method's diagnostics [K, ...].
    """

    def losses(trainables, memory, fixed: Fixed, params, step, batch: Batch):
        prompt, memory, diagnostics = prompts(
            method, trainables, memory, fixed.context, step
        )

        def lane(prompt, inputs, targets, key):
            key = jax.random.fold_in(key, step) if dropout else None
            scores = backbone.logits(params, prompt, inputs, targets, key)
            return token_loss(scores, targets)

        loss = jax.vmap(lane)(prompt, batch["inputs"], batch["targets"], fixed.keys)
        return jnp.sum(loss), (loss, memory, diagnostics)

    def step_fn(state: State, params: Params, fixed: Fixed, batch: Batch):
        gradient = jax.grad(losses, has_aux=True)
        grads, (loss, memory, diagnostics) = gradient(
            state.trainables, state.memory, fixed, params, state.step, batch
        )
        norm = jax.vmap(optax.tree.norm)(grads)
        trainables, optimiser_state = jax.vmap(
            lambda *lane: _update(optimiser, state.step, *lane)
        )(grads, state.optimiser, state.trainables, fixed.rates)
        alive = state.alive & jnp.isfinite(loss) & jnp.isfinite(norm)
        alive &= jax.vmap(_all_finite)(trainables)
        new = (trainables, memory, optimiser_state)
        old = (state.trainables, state.memory, state.optimiser)
        trainables, memory, optimiser_state = select(alive, new, old)
        state = State(
            state.step + 1, trainables, memory, optimiser_state, alive, state.best
        )
        return state, {"loss": loss, "grad_norm": norm, **diagnostics}

    return step_fn


def _all_finite(tree: Any) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))


def _update(optimiser, step, grads, state, trainables, rates: optimisers.Rates):
    direction, state = optimiser.update(grads, state, trainables)
    share = optimisers.linear_schedule(step, rates.warmup, rates.steps)
    new = {
        name: value - share * rates.peak[name] * direction[name]
        for name, value in trainables.items()
    }
    return new, state


def select(which: Bool[Array, " K"], new: Any, old: Any) -> Any:
    """Takes `new` for the lanes in `which`, `old` for the others, leaf by leaf."""

    def leaf(a: Array, b: Array) -> Array:
        return jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(leaf, new, old)


def current_prompts(
    method: Method, state: State, fixed: Fixed
) -> Float[Array, "K P H"]:
    """Makes the prompts that the state stands for: what validation decodes with."""
    return prompts(method, state.trainables, state.memory, fixed.context, state.step)[0]


def keep_best(
    method: Method, state: State, fixed: Fixed, scores: Float[Array, " K"]
) -> State:
    """Notes the lanes whose validation score beats their best; the first one wins."""
    prompt, memory, _ = prompts(
        method, state.trainables, state.memory, fixed.context, state.step
    )
    better = (scores > state.best.score) & state.alive
    steps = jnp.broadcast_to(state.step, better.shape)
    now = Best(scores, steps, prompt, state.trainables, memory)
    return state._replace(best=select(better, now, state.best))


def lane_key(seed: int, *names: str) -> Array:
    """Derives a lane's random key from its seed and the names of what it does."""
    key = jax.random.key(seed)
    for name in names:
        word = int.from_bytes(name.encode(), "little") % (2**31 - 1)
        key = jax.random.fold_in(key, np.uint32(word))
    return key

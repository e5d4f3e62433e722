"""Many prompts in one program: the state of K lanes and the step that trains them.

The backbone is frozen, so lanes meet only in its matrix products: the loss is the sum
over lanes of each lane's own mean token loss, and gradients are those of K single runs.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dtvg_jax.methods.method import (
    Context,
    Diagnostics,
    Method,
    MethodState,
    Trainables,
)
from dtvg_jax.models.backbone import Backbone, token_loss
from dtvg_jax.shapes import Params
from dtvg_jax.training import optimisers

Batch: TypeAlias = dict[str, Int[Array, "K B _"]]  # "inputs", "targets"
Tree = TypeVar("Tree")


class LaneContexts(NamedTuple):
    """The contexts of K lanes in G groups of as many neighbours: those of a seed.

    The lanes of a group share `p_init` and `sources`; the rest is a lane's own.
    """

    p_init: Float[Array, "G P H"]
    sources: Float[Array, "G S P H"]
    start: Float[Array, "K P H"]
    available: Bool[Array, "K S"]


class Best(NamedTuple):
    """The best validated step of each lane, and the prompt it had."""

    score: Float[Array, " K"]  # -inf: not validated yet
    step: Int[Array, " K"]
    prompt: Float[Array, "K P H"]  # as it enters the backbone: merged
    trainables: Trainables  # [K, ...] each
    method_state: MethodState  # [K, ...] each


class State(NamedTuple):
    """All that a step changes."""

    step: Int[Array, ""]
    trainables: Trainables  # [K, ...] each
    method_state: MethodState  # [K, ...] each
    optimiser: PyTree[Array]  # [K, ...] each
    alive: Bool[Array, " K"]  # False from a lane's first non-finite number on
    best: Best


class Fixed(NamedTuple):
    """What a step reads and never changes, besides the backbone's parameters."""

    context: LaneContexts
    rates: optimisers.Rates
    keys: Key[Array, " K"]


StepFn = Callable[[State, Params, Fixed, Batch], tuple[State, dict[str, Array]]]


def init(
    method: Method, optimiser: optax.GradientTransformation, context: LaneContexts
) -> State:
    """Makes the state before the first step."""
    trainables, method_state = _over_lanes(method.init, context)()
    step = jnp.zeros((), jnp.int32)
    count = trainables["prompt"].shape[0]
    prompt, method_state, _ = prompts(method, trainables, method_state, context, step)
    best = Best(
        score=jnp.full(count, -jnp.inf),
        step=jnp.zeros(count, jnp.int32),
        prompt=prompt,
        trainables=trainables,
        method_state=method_state,
    )
    alive = jnp.ones(count, bool)
    optimiser_state = jax.vmap(optimiser.init)(trainables)
    state = State(step, trainables, method_state, optimiser_state, alive, best)
    # Copies, because a donated state must not hold one array twice.
    return jax.tree.map(jnp.copy, state)


def prompts(
    method: Method,
    trainables: Trainables,
    method_state: MethodState,
    context: LaneContexts,
    step: Int[Array, ""],
) -> tuple[Float[Array, "K P H"], MethodState, Diagnostics]:
    """Makes every lane's prompt."""

    def one(trainables: Trainables, method_state: MethodState, context: Context):
        return method.prompt(trainables, method_state, context, step)

    return _over_lanes(one, context)(trainables, method_state)


def _over_lanes(
    function: Callable[..., Tree], contexts: LaneContexts
) -> Callable[..., Tree]:
    """Maps function(*own, context) over lanes.

    What a group shares is not copied for each of its lanes: the outer map runs over
    groups, the inner one over a group's lanes, and shared arrays are mapped by the
    outer one only.
    """
    groups = contexts.p_init.shape[0]

    def fold(tree: PyTree[Array]) -> PyTree[Array]:
        def split(x: Array) -> Array:  # no -1: the size may be 0, of no source
            return x.reshape(groups, x.shape[0] // groups, *x.shape[1:])

        return jax.tree.map(split, tree)

    def unfold(tree: PyTree[Array]) -> PyTree[Array]:
        def join(x: Array) -> Array:
            return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])

        return jax.tree.map(join, tree)

    def mapped(*own: PyTree[Array]) -> Tree:
        start, available = fold((contexts.start, contexts.available))
        per_lane, shared = [0] * len(own), [None] * 2

        def lane(*arguments: PyTree[Array]) -> Tree:
            return function(*arguments[:-4], Context(*arguments[-4:]))

        inner = jax.vmap(lane, in_axes=(*per_lane, *shared, 0, 0))
        made = jax.vmap(inner)(
            *(fold(argument) for argument in own),
            contexts.p_init,
            contexts.sources,
            start,
            available,
        )
        return unfold(made)

    return mapped


def make_step(
    backbone: Backbone,
    method: Method,
    optimiser: optax.GradientTransformation,
    *,
    dropout: bool,
) -> StepFn:
    """Builds the train step, pure, not yet jitted.

    With `dropout` the backbone's own is on, where its config has a rate. The metrics
    are "loss" and "grad_norm" [K], and the method's diagnostics [K, ...].
    """
    losses = _make_losses(backbone, method, dropout)

    def step_fn(
        state: State, params: Params, fixed: Fixed, batch: Batch
    ) -> tuple[State, dict[str, Array]]:
        gradient = jax.grad(losses, has_aux=True)
        grads, (loss, method_state, diagnostics) = gradient(
            state.trainables, state.method_state, fixed, params, state.step, batch
        )
        norm = jax.vmap(optax.tree.norm)(grads)
        trainables, optimiser_state = jax.vmap(
            lambda *lane: _update(optimiser, state.step, *lane)
        )(grads, state.optimiser, state.trainables, fixed.rates)
        # A lane whose numbers are not finite keeps what it had before this step: a
        # NaN stays in its lane, since lanes meet in no sum.
        alive = state.alive & jnp.isfinite(loss) & jnp.isfinite(norm)
        alive &= jax.vmap(_all_finite)(trainables)
        new = (trainables, method_state, optimiser_state)
        old = (state.trainables, state.method_state, state.optimiser)
        kept = select(alive, new, old)
        state = State(state.step + 1, *kept, alive, state.best)
        return state, {"loss": loss, "grad_norm": norm, **diagnostics}

    return step_fn


Aux: TypeAlias = tuple[Float[Array, " K"], MethodState, Diagnostics]


def _make_losses(
    backbone: Backbone, method: Method, dropout: bool
) -> Callable[..., tuple[Float[Array, ""], Aux]]:
    """Builds the sum of the lanes' losses, to differentiate by its first argument."""
    # With a rate of 0 no key is made, so that there is none to fold at each step.
    dropout = dropout and getattr(backbone.config, "dropout_rate", 0.0) > 0

    def losses(
        trainables: Trainables,
        method_state: MethodState,
        fixed: Fixed,
        params: Params,
        step: Int[Array, ""],
        batch: Batch,
    ) -> tuple[Float[Array, ""], Aux]:
        prompt, method_state, diagnostics = prompts(
            method, trainables, method_state, fixed.context, step
        )

        def lane(
            prompt: Float[Array, "P H"],
            inputs: Int[Array, "B T"],
            targets: Int[Array, "B L"],
            key: Key[Array, ""],
        ) -> Float[Array, ""]:
            dropout_key = jax.random.fold_in(key, step) if dropout else None
            scores = backbone.logits(params, prompt, inputs, targets, dropout_key)
            return token_loss(scores, targets)

        loss = jax.vmap(lane)(prompt, batch["inputs"], batch["targets"], fixed.keys)
        return jnp.sum(loss), (loss, method_state, diagnostics)

    return losses


def _all_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))


def _update(
    optimiser: optax.GradientTransformation,
    step: Int[Array, ""],
    grads: Trainables,
    state: PyTree[Array],
    trainables: Trainables,
    rates: optimisers.Rates,
) -> tuple[Trainables, PyTree[Array]]:
    """Moves one lane's arrays, each at its own rate."""
    direction: PyTree[Array]
    direction, state = optimiser.update(grads, state, trainables)
    share = optimisers.linear_schedule(step, rates.warmup, rates.steps)
    new = {
        name: value - share * rates.peak[name] * direction[name]
        for name, value in trainables.items()
    }
    return new, state


def select(which: Bool[Array, " K"], new: Tree, old: Tree) -> Tree:
    """Takes `new` for the lanes in `which`, `old` for the others, leaf by leaf."""

    def leaf(a: Array, b: Array) -> Array:
        return jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(leaf, new, old)


def current_prompts(
    method: Method, state: State, fixed: Fixed
) -> Float[Array, "K P H"]:
    """Makes the prompts that the state stands for: what validation decodes with."""
    return prompts(
        method, state.trainables, state.method_state, fixed.context, state.step
    )[0]


def keep_best(
    method: Method, state: State, fixed: Fixed, scores: Float[Array, " K"]
) -> State:
    """Notes the lanes whose validation score beats their best; the first one wins."""
    prompt, method_state, _ = prompts(
        method, state.trainables, state.method_state, fixed.context, state.step
    )
    better = (scores > state.best.score) & state.alive
    steps = jnp.broadcast_to(state.step, better.shape)
    now = Best(scores, steps, prompt, state.trainables, method_state)
    return state._replace(best=select(better, now, state.best))


def lane_key(seed: int, *names: str) -> Key[Array, ""]:
    """Derives a lane's random key from its seed and the names of what it does."""
    key = jax.random.key(seed)
    for name in names:
        # fold_in takes 32 bits; the prime keeps long names apart by all their bytes.
        word = int.from_bytes(name.encode(), "little") % (2**31 - 1)
        key = jax.random.fold_in(key, np.uint32(word))
    return key

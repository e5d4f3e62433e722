"""Many prompts in one program: the state of K lanes, their prompts and best steps.

The backbone is frozen, so lanes meet only in its matrix products: the loss is the sum
over lanes of each lane's own mean token loss, and gradients are those of K single runs.
Rows of all lanes are pooled: `data.microbatches` sorts them by length.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

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
from dtvg_jax.training import optimisers

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
    key: Key[Array, ""]  # of dropout


# Compiled whole: operation by operation, the compilation of each takes longer.
@functools.partial(jax.jit, static_argnums=(0, 1))
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


def select(which: Bool[Array, " K"], new: Tree, old: Tree) -> Tree:
    """Takes `new` for the lanes in `which`, `old` for the others, leaf by leaf."""

    def leaf(a: Array, b: Array) -> Array:
        return jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(leaf, new, old)


@functools.partial(jax.jit, static_argnums=0)
def current(
    method: Method, state: State, fixed: Fixed
) -> tuple[Float[Array, "K P H"], Diagnostics]:
    """Makes the prompts that the state stands for, which validation decodes with."""
    made, _, diagnostics = prompts(
        method, state.trainables, state.method_state, fixed.context, state.step
    )
    return made, diagnostics


@functools.partial(jax.jit, static_argnums=0)
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


def named_key(seed: int, *names: str) -> Key[Array, ""]:
    """Derives a random key from a seed and the names of what it is for."""
    key = jax.random.key(seed)
    for name in names:
        # fold_in takes 32 bits; the prime keeps long names apart by all their bytes.
        word = int.from_bytes(name.encode(), "little") % (2**31 - 1)
        key = jax.random.fold_in(key, np.uint32(word))
    return key

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
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt

from dtvg_jax.methods.method import (
    Context,
    Diagnostics,
    Method,
    MethodState,
    Trainables,
)
from dtvg_jax.methods.row_prompts import Prompts, RowPrompt
from dtvg_jax.training import optimisers

Tree = TypeVar("Tree")


class LaneContexts(NamedTuple):
    """The contexts of K lanes in G groups of as many neighbours: those of a seed.

    The lanes of a group share `p_init`, `sources` and `seed`; the rest is a lane's own.
    """

    p_init: Float[Array, "G P H"]
    sources: Float[Array, "G S P H"]
    start: Float[Array, "K P H"]
    available: Bool[Array, "K S"]
    seed: UInt[Array, " G"]


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
        def lane(
            shared: PyTree[Array], start: Array, available: Array, *own: PyTree[Array]
        ) -> Tree:
            p_init, sources, seed = shared
            return function(*own, Context(p_init, sources, start, available, seed))

        each = fold((contexts.start, contexts.available, *own))
        inner = jax.vmap(lane, in_axes=(None, *[0] * len(each)))
        shared = contexts.p_init, contexts.sources, contexts.seed
        return unfold(jax.vmap(inner)(shared, *each))

    return mapped


def row_prompts(
    method: Method,
    prompts: Float[Array, "K P H"],
    trainables: Trainables,
    contexts: LaneContexts,
    lanes: Int[Array, " R"],
    tokens: Float[Array, "R T H"],
    real: Bool[Array, "R T"],
) -> Float[Array, "R P H"]:
    """Makes the prompt of each row, of the lane that it is of.

    Sources are not copied for each row either: a prompt is made with those of every
    group, and that of the row's own group is taken.
    """
    own = prompts, trainables, contexts.start, contexts.available
    mine = jax.tree.map(lambda x: jnp.take(x, lanes, axis=0, mode="clip"), own)

    def row(mine: PyTree[Array], tokens: Array, real: Array, *shared: Array) -> Array:
        prompt, trainables, start, available = mine
        p_init, sources, seed = shared
        context = Context(p_init, sources, start, available, seed)
        return method.row_prompt(prompt, trainables, context, tokens, real)

    rows = jax.vmap(row, in_axes=(0, 0, 0, None, None, None))
    of_groups = jax.vmap(rows, in_axes=(None, None, None, 0, 0, 0))
    shared = contexts.p_init, contexts.sources, contexts.seed
    made = of_groups(mine, tokens, real, *shared)
    group = lanes // (prompts.shape[0] // made.shape[0])
    return jnp.take_along_axis(made, group[None, :, None, None], axis=0)[0]


def select(which: Bool[Array, " K"], new: Tree, old: Tree) -> Tree:
    """Takes `new` for the lanes in `which`, `old` for the others, leaf by leaf."""

    def leaf(a: Array, b: Array) -> Array:
        return jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(leaf, new, old)


def _standing(
    method: Method,
    prompts: Float[Array, "K P H"],
    trainables: Trainables,
    contexts: LaneContexts,
) -> Prompts:
    """Gives the lanes' prompts as decoding takes them."""
    if not method.looks_at_rows:
        return Prompts(prompts)
    size = prompts.shape[0] // contexts.p_init.shape[0]
    # Once for each group: its lanes share the arrays.
    arrays = contexts.p_init, contexts.sources, contexts.seed
    groups = [tuple(x[g] for x in arrays) for g in range(contexts.p_init.shape[0])]
    shared = [group for group in groups for _ in range(size)]
    looking = {}
    for k, (p_init, sources, seed) in enumerate(shared):
        context = Context(
            p_init, sources, contexts.start[k], contexts.available[k], seed
        )
        own = {name: x[k] for name, x in trainables.items()}
        looking[k] = RowPrompt(method, prompts[k], own, context)
    return Prompts(prompts, looking)


def current(method: Method, state: State, fixed: Fixed) -> tuple[Prompts, Diagnostics]:
    """Makes the prompts that the state stands for, which validation decodes with."""
    made, diagnostics = _current(method, state, fixed)
    return _standing(method, made, state.trainables, fixed.context), diagnostics


def best_prompts(method: Method, best: Best, contexts: LaneContexts) -> Prompts:
    """Gives the prompts of the lanes' best steps."""
    return _standing(method, best.prompt, best.trainables, contexts)


@functools.partial(jax.jit, static_argnums=0)
def _current(
    method: Method, state: State, fixed: Fixed
) -> tuple[Float[Array, "K P H"], Diagnostics]:
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

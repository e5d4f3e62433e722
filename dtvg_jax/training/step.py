"""The train step of K lanes: prompts, gradients of pooled rows, one update per lane."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from dtvg_jax.errors import InputError
from dtvg_jax.methods.method import Diagnostics, Method, MethodState, Trainables
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models import sharding
from dtvg_jax.models.backbone import Backbone, Prefix, token_log_probabilities
from dtvg_jax.shapes import Params
from dtvg_jax.training import lanes, optimisers
from dtvg_jax.training.lanes import Fixed, State

Metrics: TypeAlias = dict[str, Array]
# What rows see of the lanes: of a method that does not look at them, what the backbone
# makes of each lane's prompt; else the prompts and trainables [K, ...], of which a
# microbatch makes the prompt of each row.
Seen: TypeAlias = PyTree[Array]


class Rows(NamedTuple):
    """A microbatch on the device; see `data.microbatches.Rows`."""

    inputs: Int[Array, "R T"]
    targets: Int[Array, "R L"]
    lanes: Int[Array, " R"]
    weights: Float[Array, " R"]


class Sums(NamedTuple):
    """What microbatches add up to: gradients by what rows see, and lanes' losses."""

    gradients: PyTree[Array]  # of `Seen`, float32
    loss: Float[Array, " K"]


StepFn = Callable[[State, Params, Fixed, Sequence[Rows]], tuple[State, Metrics]]


def make_step(
    backbone: Backbone,
    method: Method,
    optimiser: optax.GradientTransformation,
    *,
    dropout: bool,
) -> StepFn:
    """Builds the train step, of jitted parts; the state that it is given is donated.

    The prompts, and what the backbone makes of a prompt alone, are computed once. Each
    microbatch adds its gradients to theirs, a program per shape that runs no method but
    one that looks at rows; then the sums are carried back to the trainables, which are
    updated once.

    With `dropout` the backbone's own is on, where its config has a rate. The metrics
    are "loss" and "grad_norm" [K], and the method's diagnostics [K, ...]; the loss of
    a lane is its mean over target tokens, 0 where it has no rows.
    """
    begin = jax.jit(functools.partial(_begin, backbone, method))
    # With a rate of 0 no key is made, so that there is none to fold at each step.
    dropout = dropout and getattr(backbone.config, "dropout_rate", 0.0) > 0
    add = jax.jit(functools.partial(_add, backbone, method, dropout), donate_argnums=0)
    end = jax.jit(
        functools.partial(_end, backbone, method, optimiser), donate_argnums=0
    )

    settled = functools.partial(sharding.settled, mesh=backbone.mesh)

    def step_fn(
        state: State, params: Params, fixed: Fixed, microbatches: Sequence[Rows]
    ) -> tuple[State, Metrics]:
        seen, sums = settled(begin(state, params, fixed))
        for number, rows in enumerate(microbatches):
            place = (state.step, np.int32(number))
            sums = settled(add(sums, params, seen, fixed, place, rows))
        return settled(end(state, params, fixed, sums))

    return step_fn


def microbatch_bytes(
    backbone: Backbone,
    method: Method,
    state: State,
    fixed: Fixed,
    rows: Rows,
    *,
    dropout: bool,
) -> int | None:
    """Tells the bytes on a device that a microbatch like `rows` needs, by compiling it.

    None: more than there are. All arguments may be shapes.
    """
    params = backbone.params
    begin = functools.partial(_begin, backbone, method)
    seen, sums = jax.eval_shape(begin, state, params, fixed)
    place = (state.step, jax.ShapeDtypeStruct((), jnp.int32))
    add = jax.jit(functools.partial(_add, backbone, method, dropout), donate_argnums=0)
    compiled = compile_within(add.lower(sums, params, seen, fixed, place, rows))
    if compiled is None:
        return None
    memory = compiled.memory_analysis()
    if memory is None:
        raise InputError(
            "XLA does not say what memory a step needs here: set Stage.remat yourself"
        )
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes


def compile_within(lowered: jax.stages.Lowered) -> jax.stages.Compiled | None:
    """Compiles; None where the compiler says that the device's memory is too small."""
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:  # of a TPU's compiler
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None


def _see(
    backbone: Backbone,
    method: Method,
    state: State,
    params: Params,
    fixed: Fixed,
    trainables: Trainables,
) -> tuple[Seen, tuple[MethodState, Diagnostics]]:
    """Makes all that rows see of the lanes."""
    prompt, method_state, diagnostics = lanes.prompts(
        method, trainables, state.method_state, fixed.context, state.step
    )
    if method.looks_at_rows:
        return (prompt, trainables), (method_state, diagnostics)
    return backbone.prefix(params, prompt), (method_state, diagnostics)


def _before_rows(
    backbone: Backbone,
    method: Method,
    params: Params,
    seen: Seen,
    fixed: Fixed,
    rows: Rows,
) -> Prefix:
    """Gives what stands before each row of a microbatch."""
    if method.looks_at_rows:
        prompts, trainables = seen
        made = lanes.row_prompts(
            method,
            prompts,
            trainables,
            fixed.context,
            rows.lanes,
            backbones.embedded(params, rows.inputs),
            rows.inputs >= 0,
        )
        return backbone.prefix(params, made)
    # A single prompt stays one copy, of which all rows share keys and values.
    single = fixed.context.start.shape[0] == 1
    return seen if single else backbone.take(seen, rows.lanes)


def _begin(
    backbone: Backbone, method: Method, state: State, params: Params, fixed: Fixed
) -> tuple[Seen, Sums]:
    seen, _ = _see(backbone, method, state, params, fixed, state.trainables)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), seen)
    return seen, Sums(zeros, jnp.zeros(state.alive.shape, jnp.float32))


def _add(
    backbone: Backbone,
    method: Method,
    dropout: bool,
    sums: Sums,
    params: Params,
    seen: Seen,
    fixed: Fixed,
    place: tuple[Int[Array, ""], Int[Array, ""]],
    rows: Rows,
) -> Sums:
    """Adds the gradients and losses of a microbatch."""
    step, number = place
    key = None
    if dropout:
        key = jax.random.fold_in(jax.random.fold_in(fixed.key, step), number)

    def loss(seen: Seen) -> tuple[Float[Array, ""], Float[Array, " R"]]:
        before = _before_rows(backbone, method, params, seen, fixed, rows)
        logits = backbone.logits_after(params, before, rows.inputs, rows.targets, key)
        tokens = -token_log_probabilities(logits, rows.targets)
        losses = rows.weights * jnp.sum(tokens, axis=1)
        return jnp.sum(losses), losses

    gradients, losses = jax.grad(loss, has_aux=True)(seen)
    # By segments and not by a product with a mask: a NaN stays in its lane.
    total = sums.loss + jax.ops.segment_sum(losses, rows.lanes, sums.loss.shape[0])
    return Sums(jax.tree.map(jnp.add, sums.gradients, gradients), total)


def _end(
    backbone: Backbone,
    method: Method,
    optimiser: optax.GradientTransformation,
    state: State,
    params: Params,
    fixed: Fixed,
    sums: Sums,
) -> tuple[State, Metrics]:
    """Carries the sums back to the trainables and updates them."""
    seen, back, (method_state, diagnostics) = jax.vjp(
        functools.partial(_see, backbone, method, state, params, fixed),
        state.trainables,
        has_aux=True,
    )
    [grads] = back(jax.tree.map(lambda g, x: g.astype(x.dtype), sums.gradients, seen))
    loss = sums.loss
    norm = jax.vmap(optax.tree.norm)(grads)
    trainables, optimiser_state = jax.vmap(
        lambda *lane: _update(optimiser, state.step, *lane)
    )(grads, state.optimiser, state.trainables, fixed.rates)
    # A lane whose numbers are not finite keeps what it had before this step: a NaN
    # stays in its lane, since lanes meet in no sum.
    alive = state.alive & jnp.isfinite(loss) & jnp.isfinite(norm)
    alive &= jax.vmap(_all_finite)(trainables)
    new = (trainables, method_state, optimiser_state)
    old = (state.trainables, state.method_state, state.optimiser)
    kept = lanes.select(alive, new, old)
    metrics = {"loss": loss, "grad_norm": norm, **diagnostics}
    ended = State(state.step + 1, *kept, alive, state.best)
    # Where they lay before: a step's state is that of the next.
    return sharding.constrain_lanes(ended, backbone.mesh), metrics


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

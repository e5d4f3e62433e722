"""All weights of a backbone trained for one task: what prompts are held against."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree

from dtvg_jax.data import batches, microbatches
from dtvg_jax.data.microbatches import Stream
from dtvg_jax.models import sharding
from dtvg_jax.models.backbone import Backbone, token_log_probabilities
from dtvg_jax.shapes import Params
from dtvg_jax.training import lanes, optimisers
from dtvg_jax.training.placement import Placement
from dtvg_jax.training.progress import progress
from dtvg_jax.training.stages import Stage
from dtvg_jax.training.step import Rows

Metrics: TypeAlias = Mapping[str, float]
# Key, step, number of the microbatch.
Place: TypeAlias = tuple[Key[Array, ""], Int[Array, ""], Int[Array, ""] | np.int32]


class Tuned(NamedTuple):
    """Weights at the step that validated best, and their scores there."""

    params: Params
    step: int
    validation: Metrics


class _State(NamedTuple):
    params: Params
    optimiser: PyTree[Array]
    step: Int[Array, ""]


class _Sums(NamedTuple):
    """What microbatches add up to."""

    gradients: Params
    loss: Float[Array, ""]


class _Step(NamedTuple):
    """The jitted parts of a step: a microbatch is added, the weights are updated."""

    add: Callable[[_Sums, Params, Place, Rows], _Sums]
    end: Callable[[_State, _Sums], _State]


def train(
    name: str,
    backbone: Backbone,
    stage: Stage,
    stream: Stream,
    validate: Callable[[Params], Metrics],
    placement: Placement,
    check: Callable[[], None],
) -> Tuned:
    """Trains a copy of the backbone's weights on one task, without a prompt.

    Rows, their order and their loss are those of a lane of prompts with the stream's
    seed. `validate` gives metrics and their "mean"; `check` is called before every step
    and may raise, after which training begins anew.
    """
    optimiser = optimisers.by_name(stage.optimiser_in(1))
    cut = microbatches.choose(
        [stream],
        stage.batch_size,
        placement.microbatch_tokens(backbone.config),
        prompt_length=0,
        devices=placement.row_parts,
    )
    key = lanes.named_key(stream.seed, "dropout", name)
    made = _step(backbone, optimiser, stage)
    # Copies, because a step gives away the state that it is given.
    params = jax.tree.map(jnp.copy, backbone.params)
    state = _State(params, optimiser.init(params), jnp.zeros((), jnp.int32))
    best = Tuned(backbone.params, 0, validate(backbone.params))

    def put(rows: Sequence[microbatches.Rows]) -> list[Rows]:
        return [Rows(*placement.put_rows(tuple(one))) for one in rows]

    def make(at: int) -> list[microbatches.Rows]:
        return microbatches.make([stream], [0], at, stage.batch_size, cut)

    stream_of_rows = batches.prefetch(make, 0, stage.steps, put=put)
    with progress(stage.steps, name) as report, contextlib.closing(stream_of_rows):
        for at, rows in enumerate(stream_of_rows):
            check()
            state, loss = _advance(made, state, key, rows, backbone.mesh)
            done = at + 1
            if done % stage.log_every == 0:
                report(done, float(loss))
            if done % stage.validate_every == 0 or done == stage.steps:
                found = validate(state.params)
                if found["mean"] > best.validation["mean"]:
                    best = Tuned(jax.tree.map(jnp.copy, state.params), done, found)
    return best


def _advance(
    made: _Step,
    state: _State,
    key: Key[Array, ""],
    rows: Sequence[Rows],
    mesh: Mesh | None,
) -> tuple[_State, Float[Array, ""]]:
    """Adds up a step's microbatches and updates the weights; gives the loss too."""
    sums = _Sums(jax.tree.map(jnp.zeros_like, state.params), jnp.zeros(()))
    for number, one in enumerate(rows):
        where = (key, state.step, np.int32(number))
        sums = sharding.settled(made.add(sums, state.params, where, one), mesh)
    return sharding.settled(made.end(state, sums), mesh), sums.loss


def _step(
    backbone: Backbone, optimiser: optax.GradientTransformation, stage: Stage
) -> _Step:
    dropout = stage.dropout and getattr(backbone.config, "dropout_rate", 0.0) > 0
    return _Step(
        jax.jit(functools.partial(_add, backbone, dropout), donate_argnums=0),
        jax.jit(functools.partial(_end, optimiser, stage), donate_argnums=0),
    )


def _add(
    backbone: Backbone,
    dropout: bool,
    sums: _Sums,
    params: Params,
    place: Place,
    rows: Rows,
) -> _Sums:
    """Adds the gradients and the loss of a microbatch."""
    key, step, number = place
    key = jax.random.fold_in(jax.random.fold_in(key, step), number) if dropout else None
    width = backbone.embedding(params).shape[1]

    def loss(params: Params) -> Float[Array, ""]:
        nothing = backbone.prefix(params, jnp.zeros((0, width)))
        logits = backbone.logits_after(params, nothing, rows.inputs, rows.targets, key)
        tokens = -token_log_probabilities(logits, rows.targets)
        return jnp.sum(rows.weights * jnp.sum(tokens, axis=1))

    value, gradients = jax.value_and_grad(loss)(params)
    return _Sums(*jax.tree.map(jnp.add, sums, _Sums(gradients, value)))


def _end(
    optimiser: optax.GradientTransformation,
    stage: Stage,
    state: _State,
    sums: _Sums,
) -> _State:
    """Moves all weights at the rate of the step."""
    direction: PyTree[Array]
    direction, moments = optimiser.update(sums.gradients, state.optimiser, state.params)
    ends = jnp.array([stage.warmup, stage.steps])
    share = optimisers.linear_schedule(state.step, *ends)
    rate = stage.learning_rate * share
    params = jax.tree.map(lambda x, d: x - rate * d, state.params, direction)
    return _State(params, moments, state.step + 1)

"""A program: lanes that are trained together, their rows, rates and memory."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from dtvg_jax.data import microbatches
from dtvg_jax.data.microbatches import Bucket, Cut, Stream
from dtvg_jax.data.mixtures import Mixture
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.methods.method import Context, Method
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.backbone import Backbone, Config
from dtvg_jax.training import lanes, optimisers, step
from dtvg_jax.training.lanes import LaneContexts
from dtvg_jax.training.placement import Placement
from dtvg_jax.training.runs import Lane
from dtvg_jax.training.stages import Stage


class Training(NamedTuple):
    """Lanes that are trained together, sorted by seed, and what they need."""

    name: str
    method: Method
    stage: Stage
    lanes: Sequence[Lane]
    context: LaneContexts
    tables: Sequence[TokenTable | Mixture]  # what each lane is trained on
    sources: Sequence[str]
    halve_at: Sequence[int] = ()  # steps at which half of the trials of a search stop

    @property
    def number(self) -> int:
        """The number of the stage, 1 or 2."""
        return self.lanes[0].run.stage

    @property
    def steps(self) -> int:
        """The steps of the lane that is trained longest."""
        return max(lane.steps for lane in self.lanes)

    @property
    def streams(self) -> list[Stream]:
        """The training rows of each lane."""
        pairs = zip(self.tables, self.lanes, strict=True)
        return [Stream(table, lane.run.seed) for table, lane in pairs]


def trained_numbers(method: Method, sources: int, length: int, width: int) -> int:
    """Counts the numbers that a lane of a method trains."""

    def array(*shape: int, dtype: str = "float32") -> PyTree[jax.ShapeDtypeStruct]:
        return jax.ShapeDtypeStruct(shape, dtype)

    prompt = array(length, width)
    context = Context(
        prompt,
        array(sources, length, width),
        prompt,
        array(sources, dtype="bool"),
        array(dtype="uint32"),
    )
    trainables, _ = jax.eval_shape(method.init, context)
    return sum(x.size for x in jax.tree.leaves(trainables))


def choose_cut(
    streams: Sequence[Stream],
    batch_size: int,
    config: Config,
    prompt_length: int,
    placement: Placement,
) -> Cut:
    """Chooses the microbatches of a program from its tables and devices."""
    # A decoder computes a prompt's keys and values once, whatever the rows.
    each = 0 if backbones.architecture(config).decoder_only else prompt_length
    tokens = placement.microbatch_tokens(config)
    return microbatches.choose(streams, batch_size, tokens, each, placement.row_parts)


def needs_remat(
    training: Training,
    backbone: Backbone,
    state: lanes.State,
    fixed: lanes.Fixed,
    cut: Cut,
    placement: Placement,
) -> bool:
    """Decides whether layers are rematerialised: as asked, or where memory is short."""
    limit = placement.memory
    if training.stage.remat is not None or limit is None:
        return bool(training.stage.remat)
    # Of the buckets with as many rows the longest, which comes last, needs most.
    longest = {bucket.rows: bucket for bucket in cut.buckets}
    for bucket in reversed(longest.values()):
        needed = step.microbatch_bytes(
            backbone,
            training.method,
            state,
            fixed,
            _shapes(bucket, placement),
            dropout=training.stage.dropout,
        )
        if needed is None or needed > limit:
            return True
    return False


def _shapes(bucket: Bucket, placement: Placement) -> step.Rows:
    """Stands for the arrays of a microbatch."""

    def array(*shape: int, dtype: str = "int32") -> PyTree[jax.ShapeDtypeStruct]:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=placement.rows)

    inputs, targets, count = bucket
    return step.Rows(
        array(count, inputs),
        array(count, targets),
        array(count),
        array(count, dtype="float32"),
    )


def fixed(training: Training) -> lanes.Fixed:
    first = training.lanes[0].run
    return lanes.Fixed(
        context=jax.tree.map(jnp.asarray, training.context),
        rates=optimisers.Rates(
            peak={
                name: jnp.array(
                    [lane.rates[name] for lane in training.lanes], jnp.float32
                )
                for name in training.lanes[0].rates
            },
            warmup=jnp.array([lane.warmup for lane in training.lanes]),
            steps=jnp.array([lane.steps for lane in training.lanes]),
        ),
        key=lanes.named_key(first.seed, "dropout", training.name),
    )

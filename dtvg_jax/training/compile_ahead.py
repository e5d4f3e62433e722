"""Compiling a step for machines that are not here: a TPU slice, a CUDA GPU.

The arguments are abstract, so no weights are allocated and any model's shapes will do.
A TPU program needs the package libtpu (extra `tpu`) but no TPU, and JAX must be told to
run on the CPU (JAX_PLATFORMS=cpu), or it would look for one.
"""

import importlib.util
import math
import os
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.experimental import topologies
from jax.sharding import NamedSharding

from dtvg_jax.errors import InputError
from dtvg_jax.methods import METHODS, Context
from dtvg_jax.models import backbone as backbones
from dtvg_jax.training import lanes, optimisers, placement

_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)
# `%name = f32[8,4]{1,0} all-reduce(...` or `= (f32[4], s32[]) all-reduce-start(...`
_OPERATION = re.compile(rf"= (\(.*?\)|\S+) ({'|'.join(_COLLECTIVES)})(?:-start)?\(")
_ARRAY = re.compile(r"(pred|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\]")


class Shapes(NamedTuple):
    """The sizes of a program: K lanes in G groups of one seed, and each lane's own."""

    lanes: int
    groups: int
    sources: int
    prompt_length: int
    batch_size: int
    inputs_length: int
    targets_length: int


class Step(NamedTuple):
    """A train step by names: of `methods.METHODS` and `optimisers.OPTIMISERS`."""

    method: str
    optimiser: str
    shapes: Shapes
    dropout: bool


def compile_steps(
    topology: str,
    config: backbones.Config,
    steps: dict[str, Step],
    *,
    dtype: Any = jnp.bfloat16,
) -> dict[str, Any]:
    """Compiles steps of a backbone for a TPU slice, and lowers them for CUDA.

    Batches are spread over all chips of the slice.

    Returns:
      The slice, its number of chips, and for each step the figures of `compile_for`.

    Raises:
      InputError: where the slice is unknown, libtpu absent, or a batch not divisible.
    """
    where = placement.make(topology_devices(topology))
    results: dict[str, Any] = {"topology": topology, "chips": where.mesh.size}
    for name, step in steps.items():
        where.check_rows(f"batch_size of {name}", step.shapes.batch_size)
        function, arguments = abstract_step(config, step, where, dtype=dtype)
        results[name] = compile_for(function, arguments)
        results[name]["cuda_program_bytes"] = lower_for_cuda(function, arguments)
    return results


def abstract_step(
    config: backbones.Config,
    step: Step,
    where: placement.Placement,
    *,
    dtype: Any = jnp.bfloat16,
) -> tuple[Any, tuple[Any, ...]]:
    """Makes the train step of a program and abstract arguments for it.

    Rows of a batch are spread over the mesh's axis "data"; the backbone, in `dtype`,
    and the lanes' state lie whole on every chip.
    """

    def array(*shape: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    method, rule = METHODS[step.method], optimisers.by_name(step.optimiser)
    shapes = step.shapes
    k, length = shapes.lanes, shapes.prompt_length
    params = jax.eval_shape(lambda: backbones.init_params(config, jax.random.key(0)))
    params = jax.tree.map(lambda x: array(*x.shape, dtype=dtype), params)
    width = params["token_embedder"]["embedding"].shape[1]
    context = Context(
        p_init=array(shapes.groups, length, width),
        sources=array(shapes.groups, shapes.sources, length, width),
        start=array(k, length, width),
        available=array(k, shapes.sources, dtype=jnp.bool_),
    )
    state = jax.eval_shape(lambda context: lanes.init(method, rule, context), context)
    counts = array(k, dtype=jnp.int32)
    peak: dict[str, Any] = {name: array(k) for name in state.trainables}
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), k))
    fixed = lanes.Fixed(context, optimisers.Rates(peak, counts, counts), keys)
    rows = {"inputs": shapes.inputs_length, "targets": shapes.targets_length}
    batch = {
        name: array(k, shapes.batch_size, size, dtype=jnp.int32)
        for name, size in rows.items()
    }
    model = backbones.build("abstract", config, params, None, "")
    step_fn = lanes.make_step(model, method, rule, dropout=step.dropout)
    arguments = (
        _placed(state, where.lanes),
        _placed(params, where.params),
        _placed(fixed, where.lanes),
        _placed(batch, where.rows),
    )
    return jax.jit(step_fn, donate_argnums=0), arguments


def _placed(tree: Any, where: NamedSharding) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree
    )


def topology_devices(topology: str) -> np.ndarray:
    """Describes the chips of a TPU slice such as "v5e:2x4", as a flat array.

    Raises:
      InputError: where libtpu is absent or knows no such slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "Compiling for a TPU needs the package libtpu: install dtvg_jax[tpu]."
        )
    # No TPU is touched: there is no host to ask, and no chip that two processes that
    # compile at the same time would have to share.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except Exception as error:  # JaxRuntimeError, of an unknown name
        raise InputError(
            f"'{topology}' is no TPU slice that libtpu knows ({error}): "
            "write it as v5e:2x4."
        ) from error
    return np.array(described.devices)


def compile_for(step: Any, arguments: Sequence[Any]) -> dict[str, Any]:
    """Compiles a jitted step for the devices that its arguments' shardings name.

    Args:
      step: a function made by jax.jit.
      arguments: trees of jax.ShapeDtypeStruct with shardings on a described slice.

    Returns:
      Figures per chip: seconds to compile, bytes of memory by use, operations, bytes
      moved in memory, and for each kind of collective its count and bytes of results.
    """
    start = time.perf_counter()
    compiled = step.lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    cost = compiled.cost_analysis()
    uses = {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
    }
    # outputs that take the place of donated arguments are counted once
    total = sum(uses.values()) - 2 * uses["aliased"]
    return {
        "compile_seconds": round(seconds, 1),
        "memory_bytes": uses | {"total": total},
        "operations": cost.get("flops"),
        "bytes_accessed": cost.get("bytes accessed"),
        "collectives": collectives(compiled.as_text()),
    }


def collectives(program: str) -> dict[str, dict[str, int]]:
    """Counts the collectives in a program's HLO text and the bytes of their results."""
    found: dict[str, dict[str, int]] = {}
    for shapes, kind in _OPERATION.findall(program):
        entry = found.setdefault(kind, {"count": 0, "bytes": 0})
        entry["count"] += 1
        entry["bytes"] += sum(
            math.prod(int(n) for n in size.split(",") if n) * int(bits or 8) // 8
            for _, bits, size in _ARRAY.findall(shapes)
        )
    return found


def lower_for_cuda(step: Any, arguments: Sequence[Any]) -> int:
    """Lowers a jitted step for a CUDA GPU; returns the bytes of its program."""
    exported = export.export(step, platforms=["cuda"])(*arguments)
    return len(exported.mlir_module_serialized)

"""Compiling a step for machines that are not here: a TPU slice, a CUDA GPU.

The arguments are abstract, so no weights are allocated and any model's shapes will do.
A TPU program needs the package libtpu (extra `tpu`) but no TPU, and JAX must be told to
run on the CPU (JAX_PLATFORMS=cpu), or it would look for one.
"""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias, cast

import jax
from jax import export
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.methods import Method
from dtvg_jax.models import backbone as backbones
from dtvg_jax.training import lanes, optimisers, placement, tpu_slices
from dtvg_jax.training import step as train_step

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
# `%name (arguments) -> result {`, lines, `}`; what a line runs, and how often.
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) [^\n]*\{\n(.*?)^\}", re.M | re.S)
_RUN = re.compile(r"(?:body|calls|to_apply)=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
# A TPU's program has the trips in the loop's condition only: `index < constant`.
_CONDITION = re.compile(r"condition=%?([\w.-]+)")
_BOUND = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
_CHANNEL = re.compile(r"channel_id=(\d+)")

PROGRAMS = (ClosedJaxpr, Jaxpr)


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
    """A train step; the optimiser is a name of `optimisers.OPTIMISERS`.

    Without `remat` it is as a job would have it: where memory needs it.
    """

    method: Method
    optimiser: str
    shapes: Shapes
    dropout: bool
    remat: bool | None = None


class Figures(NamedTuple):
    """What is known of a compiled step, per chip.

    memory_bytes: by use, and in total
    operations: of matrix products, which all chips share evenly
    collectives: count and bytes of results, by kind
    """

    compile_seconds: float
    memory_bytes: dict[str, int]
    operations: float
    collectives: dict[str, dict[str, int]]


def compile_steps(
    topology: str,
    config: backbones.Config,
    steps: Mapping[str, Step],
    dtype: str = "bfloat16",
    mesh: placement.Mesh | None = None,
) -> JsonObject:
    """Compiles steps of a backbone for a TPU slice, and lowers them for CUDA.

    No weights are needed: `config` has their shapes, `dtype` is their type. Without a
    mesh it is the one that a job on the slice would choose.

    Returns:
      The slice, its number of chips, the mesh, and for each step its `Figures`, whether
      layers are rematerialised, the least seconds at the chips' peak rate, and the
      bytes of its program for CUDA.

    Raises:
      InputError: where the slice is unknown, libtpu absent, or memory too small.
    """
    chip, devices = tpu_slices.chip(topology), tpu_slices.devices(topology)
    if mesh is None:
        mesh = placement.chosen(config, dtype, len(devices), chip.memory)
    place = placement.make(mesh, devices)
    results: JsonObject = {
        "topology": topology,
        "chips": len(devices),
        "mesh": dict(place.mesh.shape),
    }
    for name, step in steps.items():
        remat, figures = _compile_step(config, step, place, dtype, chip)
        abstract = abstract_step(config, step._replace(remat=remat), place, dtype)
        results[name] = figures._asdict() | {
            "remat": remat,
            "least_seconds": figures.operations / chip.peak,
            "cuda_program_bytes": lower_for_cuda(*abstract),
        }
    return results


def _compile_step(
    config: backbones.Config,
    step: Step,
    place: placement.Placement,
    dtype: str,
    chip: tpu_slices.Chip,
) -> tuple[bool, Figures]:
    """Compiles a step as it is asked for, else without and then with remat."""
    for remat in (False, True) if step.remat is None else (step.remat,):
        made = step._replace(remat=remat)
        found = compile_for(*abstract_step(config, made, place, dtype))
        if found is not None and found.memory_bytes["total"] <= chip.memory:
            return remat, found
    raise InputError(
        f"a step of {step.shapes.lanes} lanes of {step.shapes.batch_size} rows needs "
        f"more than the {chip.memory / 2**30:.0f} GiB of a chip: give a mesh with more "
        "fsdp or tensor, a larger slice, or fewer lanes"
    )


Arguments: TypeAlias = tuple[PyTree[jax.ShapeDtypeStruct], ...]


def abstract_step(
    config: backbones.Config,
    step: Step,
    place: placement.Placement,
    dtype: str = "bfloat16",
) -> tuple[jax.stages.Wrapped, Arguments]:
    """Makes the jitted train step of a program and abstract arguments for it.

    Arguments lie where `place` says; the backbone is in `dtype`.
    """
    rule = optimisers.by_name(step.optimiser)
    shapes = step.shapes
    params = backbones.param_shapes(config, dtype)
    width = params["token_embedder"]["embedding"].shape[1]
    context = _contexts(shapes, width)
    state = jax.eval_shape(
        lambda context: lanes.init(step.method, rule, context), context
    )
    rates = _rates(shapes.lanes, list(state.trainables))
    key = jax.eval_shape(lambda: jax.random.key(0))
    model = backbones.build("abstract", config, params, None, "", place.mesh)
    if step.remat:
        model = backbones.with_remat(model)
    fixed = lanes.Fixed(context, rates, key)
    rows = _rows(shapes, place.filled(shapes.lanes * shapes.batch_size))
    step_fn = train_step.make_step(model, step.method, rule, dropout=step.dropout)
    arguments = (
        _placed(state, place.lanes(state)),
        _placed(params, backbones.shardings(config, place.mesh)),
        _placed(fixed, place.lanes(fixed)),
        [_placed(rows, jax.tree.map(lambda _: place.rows, rows))],
    )
    return jax.jit(step_fn, donate_argnums=0), arguments


# Stands for an array wherever only shapes are looked at, so records of arrays hold it.
def _array(*shape: int, dtype: str = "float32") -> PyTree[jax.ShapeDtypeStruct]:
    return jax.ShapeDtypeStruct(shape, dtype)


def _contexts(shapes: Shapes, width: int) -> lanes.LaneContexts:
    prompt = (shapes.prompt_length, width)

    return lanes.LaneContexts(
        p_init=_array(shapes.groups, *prompt),
        sources=_array(shapes.groups, shapes.sources, *prompt),
        start=_array(shapes.lanes, *prompt),
        available=_array(shapes.lanes, shapes.sources, dtype="bool"),
        seed=_array(shapes.groups, dtype="uint32"),
    )


def _rates(count: int, names: Sequence[str]) -> optimisers.Rates:
    number = _array(count, dtype="int32")
    return optimisers.Rates({name: _array(count) for name in names}, number, number)


def _rows(shapes: Shapes, count: int) -> train_step.Rows:
    """Describes all rows of a step as one microbatch of the longest length."""
    return train_step.Rows(
        inputs=_array(count, shapes.inputs_length, dtype="int32"),
        targets=_array(count, shapes.targets_length, dtype="int32"),
        lanes=_array(count, dtype="int32"),
        weights=_array(count),
    )


def _placed(
    tree: PyTree[jax.ShapeDtypeStruct], where: PyTree[NamedSharding]
) -> PyTree[jax.ShapeDtypeStruct]:
    return jax.tree.map(
        lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), tree, where
    )


def compile_for(step: jax.stages.Wrapped, arguments: Arguments) -> Figures | None:
    """Compiles a jitted step for the devices that its arguments' shardings name.

    None: their memory is too small.
    """
    start = time.perf_counter()
    traced = step.trace(*arguments)
    compiled = train_step.compile_within(traced.lower())
    seconds = time.perf_counter() - start
    if compiled is None:
        return None
    memory, program = compiled.memory_analysis(), compiled.as_text()
    if memory is None or program is None:
        raise InputError("this version of XLA tells nothing of a compiled program")
    uses = {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
    }
    # Outputs that take the place of donated arguments are counted once.
    total = sum(uses.values()) - 2 * uses["aliased"]
    chips = len(jax.tree.leaves(arguments)[0].sharding.device_set)
    return Figures(
        compile_seconds=round(seconds, 1),
        memory_bytes=uses | {"total": total},
        operations=products(traced.jaxpr.jaxpr) / chips,
        collectives=collectives(program),
    )


def collectives(program: str) -> dict[str, dict[str, int]]:
    """Counts the collectives that a program's HLO text runs, and their results' bytes.

    Those of a loop's body count as often as it runs, which XLA's own figures leave out.
    A collective that runs beside several fusions is a line of each: it counts once.
    """
    found: dict[str, dict[str, int]] = {}
    channels: set[str] = set()
    for line, times in _lines(program):
        channel = _CHANNEL.search(line)
        if channel and _OPERATION.search(line):
            if channel[1] in channels:
                continue
            channels.add(channel[1])
        for shapes, kind in _OPERATION.findall(line):
            entry = found.setdefault(kind, {"count": 0, "bytes": 0})
            entry["count"] += times
            entry["bytes"] += times * sum(
                math.prod(int(n) for n in size.split(",") if n) * int(bits or 8) // 8
                for _, bits, size in _ARRAY.findall(shapes)
            )
    return found


def _lines(program: str) -> Iterator[tuple[str, int]]:
    """Gives each line that is run, and how often."""
    computations = _COMPUTATION.findall(program)
    lines = {name: body.splitlines() for _, name, body in computations}
    todo = [(name, 1) for entry, name, _ in computations if entry]
    while todo:
        name, times = todo.pop()
        for line in lines[name]:
            yield line, times
            each = times * _trips(line, lines)
            todo += [(called, each) for called in _RUN.findall(line)]


def _trips(line: str, lines: Mapping[str, Sequence[str]]) -> int:
    """Tells how often a line runs what it calls: 1, unless it is a loop."""
    if known := _TRIPS.search(line):
        return int(known[1])
    condition = _CONDITION.search(line)
    inside = "\n".join(lines[condition[1]]) if condition else ""
    bounds = _BOUND.findall(inside)
    return int(bounds[0]) if len(bounds) == 1 else 1


def products(program: Jaxpr) -> int:
    """Counts the operations of all matrix products, those of loops by their trips."""
    total = 0
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = cast(ShapedArray, equation.invars[0].aval)
            out = cast(ShapedArray, equation.outvars[0].aval)
            terms = math.prod(left.shape[axis] for axis in contracted)
            total += 2 * terms * math.prod(out.shape)
        inner = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, PROGRAMS)
        )
        trips = equation.params.get("length", 1)  # of a scan
        for one in inner:
            if isinstance(one, ClosedJaxpr):
                total += trips * products(one.jaxpr)
            elif isinstance(one, Jaxpr):
                total += trips * products(one)
    return total


def lower_for_cuda(step: jax.stages.Wrapped, arguments: Arguments) -> int:
    """Lowers a jitted step for a CUDA GPU; returns the bytes of its program."""
    exported = export.export(step, platforms=["cuda"])(*arguments)
    return len(exported.mlir_module_serialized)

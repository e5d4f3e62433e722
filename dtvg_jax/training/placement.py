"""Where arrays lie: made once for a process, then passed to all that need it."""

import dataclasses
import math
import os
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from dtvg_jax.errors import Count, InputError, check_field_types
from dtvg_jax.formats import load as loading
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models import sharding
from dtvg_jax.models.backbone import Backbone, Config
from dtvg_jax.training import hosts

# Positions of a microbatch: the fewer, the less is padded; below these a device is not
# busy. A loop over layers copies every weight once more for each microbatch.
CPU_TOKENS, CPU_LOOP_TOKENS, ACCELERATOR_TOKENS = 256, 1024, 16384
# Bytes of a block that is decoded: on a CPU the rows of a larger one take no less time,
# within the noise of what was measured.
CPU_BLOCK = 3 << 27
# The share of a device's memory that parameters may take: a step needs the rest.
COMFORTABLE = 0.5

Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Mesh:
    """How devices are divided; the product is their number.

    Attributes:
      lanes: parts of the lanes' state; where lanes do not divide, it lies whole.
      rows: parts of the rows of a step; None: as many as the rest of the devices.
      fsdp: parts of the parameters, which a layer gathers when it runs, and of rows.
      tensor: parts of the heads and of the widest layers.
    """

    lanes: Count = 1
    rows: Count | None = None
    fsdp: Count = 1
    tensor: Count = 1

    def __post_init__(self) -> None:
        check_field_types(self)

    def shape(self, devices: int) -> tuple[int, int, int, int]:
        """Gives the sizes of lanes, rows, fsdp and tensor for so many devices.

        Raises InputError where the product is another number.
        """
        others = self.lanes * self.fsdp * self.tensor
        rows = self.rows or devices // others
        if rows * others != devices:
            given = ", ".join(f"{k} = {v}" for k, v in dataclasses.asdict(self).items())
            raise InputError(
                f"Mesh({given}) does not divide {devices} devices: the product of the "
                "four must be their number, and rows = None takes what is left"
            )
        return self.lanes, rows, self.fsdp, self.tensor


class Placement(NamedTuple):
    """A mesh, and what lies where on it."""

    mesh: jax.sharding.Mesh

    @property
    def row_parts(self) -> int:
        """The devices that rows are spread over: their number is a multiple of it."""
        return math.prod(self.mesh.shape[axis] for axis in sharding.ROWS)

    def microbatch_tokens(self, config: Config) -> int:
        """Gives the positions of a microbatch that keep all devices busy."""
        if jax.default_backend() != "cpu":
            return ACCELERATOR_TOKENS * self.row_parts
        each = CPU_LOOP_TOKENS if backbones.looped(config) else CPU_TOKENS
        return each * self.row_parts

    @property
    def block_bytes(self) -> int | None:
        """What rows that are decoded at once may take; None: it is not limited."""
        return CPU_BLOCK * self.row_parts if jax.default_backend() == "cpu" else None

    @property
    def memory(self) -> int | None:
        """The bytes of the smallest device; None where it does not say, as a CPU."""
        return memory(self.mesh.local_devices)

    @property
    def whole(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def rows(self) -> NamedSharding:
        """Where a microbatch or block [R, ...] lies."""
        return NamedSharding(self.mesh, PartitionSpec(sharding.ROWS))

    def lanes(self, tree: PyTree) -> PyTree[NamedSharding]:
        """Where state and fixed inputs [K, ...] lie: whole where K does not divide."""
        return jax.tree.map(lambda leaf: sharding.of_lanes(leaf, self.mesh), tree)

    def filled(self, count: int) -> int:
        """Gives the least number of rows >= `count` that can be spread evenly."""
        return -(-count // self.row_parts) * self.row_parts

    def put_rows(self, tree: PyTree) -> PyTree[Array]:
        """Puts arrays [R, ...] onto the devices, their rows spread."""
        return hosts.put(tree, self.rows)

    def put_lanes(self, tree: Tree) -> Tree:
        """Puts arrays [K, ...], and scalars, onto the devices."""
        return hosts.put(tree, self.lanes(tree))

    def put_whole(self, tree: PyTree) -> PyTree[Array]:
        """Puts arrays whole onto each device."""
        return hosts.put(tree, self.whole)

    def fetch(self, tree: PyTree) -> PyTree[np.ndarray]:
        """Gives arrays that may be spread over the devices to the host, whole."""
        return hosts.whole(tree)


def memory(devices: Iterable[Any]) -> int | None:
    """Gives the bytes of the smallest device; None where they do not say, as a CPU."""
    stats = [device.memory_stats() or {} for device in devices]
    limits = [one["bytes_limit"] for one in stats if "bytes_limit" in one]
    # Hosts may differ by a few bytes, and must decide the same.
    return hosts.agree(min(limits, default=None))


def load(
    where: str,
    dtype: str,
    mesh: Mesh | None = None,
    cache_dir: str | os.PathLike[str] = loading.CACHE,
) -> tuple[Backbone, Placement]:
    """Loads a backbone right into its place on all devices; see `load_backbone`.

    Without a mesh it is `chosen`. Raises InputError like `check_all_have_met`.
    """
    hosts.check_all_have_met()
    loading.check_dtype(dtype)
    source = loading.open_source(where, cache_dir)
    place = make(mesh or chosen_here(source.config, dtype))
    return source.load(dtype, place.mesh), place


def spread(backbone: Backbone) -> tuple[Backbone, Placement]:
    """Spreads a backbone over all devices, unless it is spread already.

    Raises InputError like `check_all_have_met`.
    """
    if backbone.mesh is not None:
        return backbone, Placement(backbone.mesh)
    hosts.check_all_have_met()
    dtype = backbone.embedding(backbone.params).dtype
    place = make(chosen_here(backbone.config, str(dtype)))
    where = backbones.shardings(backbone.config, place.mesh)
    params = jax.device_put(backbone.params, where)
    return backbones.with_params(backbone, params, place.mesh), place


def chosen_here(config: Config, dtype: str) -> Mesh:
    """Chooses a mesh for a backbone on the devices there are."""
    return chosen(config, dtype, jax.device_count(), memory(jax.local_devices()))


def chosen(config: Config, dtype: str, devices: int, memory: int | None) -> Mesh:
    """Chooses a mesh for a backbone on so many devices of so many bytes.

    Parameters lie whole on each device where they take half of its memory or less, as
    they do where the memory is not known; else over the fewest devices that make it so.
    Rows are spread over all devices.
    """
    params = parameter_bytes(config, dtype)
    parts = [n for n in range(1, devices + 1) if devices % n == 0]
    fits = [n for n in parts if memory is None or params / n <= COMFORTABLE * memory]
    return Mesh(fsdp=fits[0] if fits else devices)


def described(place: Placement, config: Config, dtype: str) -> str:
    """Says in a line how devices are divided, and what each holds of the parameters."""
    shapes = backbones.param_shapes(config, dtype)
    parts = jax.tree.map(
        lambda x, where: math.prod(where.shard_shape(x.shape)) * x.dtype.itemsize,
        shapes,
        backbones.shardings(config, place.mesh),
    )
    shape = " x ".join(f"{name} {size}" for name, size in place.mesh.shape.items())
    unit, bytes_of = (
        ("GB", 1e9) if parameter_bytes(config, dtype) >= 1e8 else ("MB", 1e6)
    )
    return (
        f"mesh: {shape}; {sum(jax.tree.leaves(parts)) / bytes_of:.2f} of "
        f"{parameter_bytes(config, dtype) / bytes_of:.2f} {unit} of parameters on each "
        "device"
    )


def parameter_bytes(config: Config, dtype: str) -> int:
    """Counts the bytes of a backbone's parameters."""
    shapes = jax.tree.leaves(backbones.param_shapes(config, dtype))
    return sum(x.size * x.dtype.itemsize for x in shapes)


def make(mesh: Mesh = Mesh(), devices: Iterable[Any] | None = None) -> Placement:  # noqa: B008 (frozen)
    """Makes a placement on devices (None: all there are).

    Raises InputError where the mesh does not divide them, or TPUs are of two slices.
    """
    found = jax.devices() if devices is None else list(devices)
    slices = {
        getattr(device, "slice_index", 0)  # a chip that is not here has none
        for device in found
        if device.platform == "tpu"
    }
    if len(slices) > 1:
        raise InputError(
            f"the TPU's chips are those of {len(slices)} slices: a job takes one slice"
        )
    # jax.make_mesh would not split a side of a v4, v5p or v6e into two axes, such as
    # 4 chips into rows = 2 x fsdp = 2, and would take the GPUs of one node only.
    laid = mesh_utils.create_device_mesh(
        mesh.shape(len(found)), found, allow_split_physical_axes=True
    )
    types = (AxisType.Auto,) * len(sharding.AXES)
    return Placement(jax.sharding.Mesh(laid, sharding.AXES, axis_types=types))

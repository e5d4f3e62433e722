"""Meshes: their shapes, the one that is chosen, and two devices against one."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import test_lanes
import tiny_t5

from dtvg_jax.errors import InputError
from dtvg_jax.formats import load
from dtvg_jax.methods import METHODS
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models import sharding
from dtvg_jax.training import lanes, optimisers, placement, step
from dtvg_jax.training.placement import Mesh

GB = 2**30


def train(mesh: Mesh, devices: int, config=test_lanes.T5) -> np.ndarray:
    place = placement.make(mesh, jax.devices()[:devices])
    optimiser, method = optimisers.by_name("adamw_stage2"), METHODS["dtvg"]
    fixed = test_lanes.fixed(config=config)
    state = place.put_lanes(lanes.init(method, optimiser, fixed.context))
    fixed = place.put_lanes(fixed)
    whole = test_lanes.backbone(config)
    where = backbones.shardings(config, place.mesh)
    params = jax.device_put(whole.params, where)
    backbone = backbones.with_params(whole, params, place.mesh)
    step_fn = step.make_step(backbone, method, optimiser, dropout=False)
    for number in range(10):
        rows = place.put_rows(test_lanes.batch(number, count=2))
        state, _ = step_fn(state, params, fixed, rows)
    prompt = state.trainables["prompt"]
    assert prompt.sharding.is_equivalent_to(place.lanes(prompt), prompt.ndim)
    return np.asarray(lanes.current(method, state, fixed)[0].arrays)


@pytest.mark.parametrize(
    ("mesh", "config"),
    # The second gathers a layer in the body of a loop.
    [
        pytest.param(Mesh(lanes=2), test_lanes.T5, marks=pytest.mark.slow),
        (Mesh(fsdp=2), test_lanes.LLAMA),
    ],
    ids=["lanes", "fsdp"],
)
def test_two_devices_give_the_same_prompts(mesh, config):
    # The sum over rows is split in two: float32 rounding, lifted by Adam as in
    # test_lanes.
    np.testing.assert_allclose(
        train(mesh, 2, config), train(Mesh(), 1, config), atol=2e-5
    )


def test_one_device_has_no_constraints_in_its_program():
    place = placement.make(devices=jax.devices()[:1])
    given = test_lanes.backbone()
    one = backbones.with_params(given, given.params, place.mesh)
    # The very functions, so the very program.
    assert one.mesh is None and one.logits_after is given.logits_after

    def program(backbone: backbones.Backbone) -> str:
        inputs = np.zeros((4, 3), np.int32)
        prompt = np.zeros((4, 2, test_lanes.H), np.float32)
        given = (backbone.params, prompt, inputs, inputs, None)
        return str(jax.make_jaxpr(backbone.logits)(*given))

    assert "sharding_constraint" not in program(one)
    two = placement.make(devices=jax.devices()[:2]).mesh
    spread = backbones.with_params(given, given.params, two)
    assert "sharding_constraint" in program(spread)


def test_a_slice_whose_hosts_have_not_met_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    said = "of 4 hosts: give --distributed to `train` or `evaluate` on each"
    with pytest.raises(InputError, match=said):
        placement.load("miniature", "float32")
    with pytest.raises(InputError, match=said):
        placement.spread(test_lanes.backbone())


@pytest.mark.parametrize(
    ("mesh", "devices", "shape"),
    [
        (Mesh(), 1, (1, 1, 1, 1)),
        (Mesh(), 8, (1, 8, 1, 1)),
        (Mesh(fsdp=4), 16, (1, 4, 4, 1)),
        (Mesh(lanes=2, rows=2, tensor=2), 8, (2, 2, 1, 2)),
    ],
)
def test_rows_take_the_devices_that_are_left(mesh, devices, shape):
    assert mesh.shape(devices) == shape


@pytest.mark.parametrize(
    ("mesh", "devices"), [(Mesh(fsdp=3), 8), (Mesh(rows=4), 8), (Mesh(tensor=4), 2)]
)
def test_a_shape_of_other_devices_is_a_sentence(mesh, devices):
    with pytest.raises(InputError, match=rf"Mesh\(.*\) does not divide {devices} dev"):
        mesh.shape(devices)


@dataclasses.dataclass(frozen=True)
class Chip:
    """What JAX reads of a TPU's chip to lay out a mesh."""

    coords: tuple[int, int, int]
    device_kind: str
    slice_index: int = 0
    platform: str = "tpu"
    core_on_chip: int = 0

    @property
    def id(self) -> int:
        x, y, z = self.coords
        return x + 100 * (y + 100 * (z + 100 * self.slice_index))


def chips(kind: str, *shape: int, number: int = 0) -> list[Chip]:
    """Makes the chips of a slice, x first."""
    found = itertools.product(*map(range, reversed(shape)))
    return [Chip((x, y, z), kind, number) for z, y, x in found]


@pytest.mark.parametrize(
    ("kind", "shape", "mesh"),
    [
        ("TPU v6 lite", (4, 4, 1), Mesh(fsdp=2)),
        ("TPU v6 lite", (4, 4, 1), Mesh(tensor=2)),
        ("TPU v5", (4, 4, 4), Mesh(tensor=2)),
        ("TPU v4", (4, 4, 4), Mesh(lanes=2, fsdp=2)),
        ("TPU v5 lite", (4, 4, 1), Mesh(fsdp=2)),
    ],
)
def test_parts_may_be_fewer_than_a_side_of_the_slice(kind, shape, mesh):
    given = chips(kind, *shape)
    made = placement.make(mesh, given).mesh.devices
    assert made.shape == mesh.shape(len(given))
    assert set(made.flat) == set(given)
    # The two that exchange most have a link.
    for a, b in made.reshape(-1, 2):
        assert sum(abs(i - j) for i, j in zip(a.coords, b.coords, strict=True)) == 1


def test_chips_of_two_slices_are_a_sentence():
    both = [one for n in (0, 1) for one in chips("TPU v6 lite", 2, 4, 1, number=n)]
    with pytest.raises(InputError, match="the TPU's chips are those of 2 slices"):
        placement.make(Mesh(), both)


def test_gpus_of_two_nodes_are_one_mesh():
    """To JAX each node is a slice."""
    nodes = [
        Chip((i, 0, 0), "NVIDIA H200", slice_index=node, platform="gpu")
        for node in (0, 1)
        for i in range(2)
    ]
    made = placement.make(Mesh(fsdp=2), nodes).mesh.devices
    assert made.reshape(2, 2).tolist() == [nodes[:2], nodes[2:]]


@pytest.mark.parametrize(
    ("mesh", "count"), [(Mesh(), 1), (Mesh(), 2), (Mesh(tensor=2), 2)]
)
def test_devices_without_coordinates_keep_their_order(mesh, count):
    made = placement.make(mesh, jax.devices()[:count]).mesh.devices
    assert list(made.flat) == jax.devices()[:count]


def test_no_part_is_a_sentence():
    with pytest.raises(InputError, match="fsdp = 0: it must be a whole number of at"):
        Mesh(fsdp=0)


@pytest.mark.parametrize(
    ("devices", "memory", "fsdp"),
    [
        (8, None, 1),  # a CPU
        (1, GB, 1),  # whether it fits or not
        (8, 2 * GB, 1),
        (8, 2 * GB - 1, 2),
        (8, GB // 2, 4),
        (6, GB // 2, 6),  # 4 does not divide 6
        (8, GB // 64, 8),
    ],
)
def test_parameters_are_spread_where_they_take_half_of_the_memory(
    devices, memory, fsdp, monkeypatch
):
    monkeypatch.setattr(placement, "parameter_bytes", lambda config, dtype: GB)
    mesh = placement.chosen(test_lanes.T5, "float32", devices, memory)
    assert mesh == Mesh(fsdp=fsdp)


def test_bytes_of_parameters_by_hand():
    # embedding and head; query, out, key and value; three of the MLP; norms
    numbers = 2 * 64 * 16 + 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 32 + 3 * 16
    assert placement.parameter_bytes(test_lanes.LLAMA, "bfloat16") == 2 * numbers


@pytest.mark.parametrize(
    ("mesh", "axes", "shape", "part"),
    [
        (Mesh(fsdp=2), ("layers", "embed", "mlp"), (3, 8, 6), (3, 4, 6)),
        (Mesh(tensor=2), ("layers", "embed", "mlp"), (3, 8, 6), (3, 8, 3)),
        (Mesh(tensor=2), ("vocab", "embed"), (7, 8), (7, 8)),  # 7 is odd
        (Mesh(tensor=2), ("heads", "relpos_buckets"), (4, 32), (2, 32)),
        (Mesh(fsdp=2), ("batch", "length", "width"), (8, 4, 4), (4, 4, 4)),
        (Mesh(), ("batch", "length", "vocab"), (8, 4, 4), (4, 4, 4)),
        (Mesh(tensor=2), ("batch", "length", "vocab"), (8, 4, 4), (8, 4, 2)),
        (Mesh(lanes=2), ("lanes", None), (2, 3), (1, 3)),
        (Mesh(lanes=2), ("lanes", None), (3, 3), (3, 3)),
        (Mesh(lanes=2), (), (), ()),
    ],
)
def test_axes_are_spread_by_their_names(mesh, axes, shape, part):
    made = placement.make(mesh, jax.devices()[:2]).mesh
    assert sharding.of(axes, shape, made).shard_shape(shape) == part


@pytest.mark.parametrize("mesh", [Mesh(fsdp=2), Mesh(tensor=2)])
def test_no_device_holds_all_parameters_when_they_are_loaded(mesh):
    place = placement.make(mesh, jax.devices()[:2])
    spread = load.open_source("miniature").load("float32", place.mesh)
    parts = [p for x in jax.tree.leaves(spread.params) for p in x.addressable_shards]
    held = [
        sum(part.data.nbytes for part in parts if part.device == device)
        for device in jax.devices()[:2]
    ]
    whole = load.load_backbone("miniature")
    total = sum(x.nbytes for x in jax.tree.leaves(whole.params))
    # Vectors lie whole, and with tensor = 2 an odd number of rows of the vocabulary.
    assert max(held) < 0.6 * total
    jax.tree.map(np.testing.assert_array_equal, spread.params, whole.params)


@pytest.mark.parametrize(
    ("layers", "backend", "tokens"),
    [(4, "cpu", 256), (5, "cpu", 1024), (4, "gpu", 16384), (5, "metal", 16384)],
)
def test_loops_and_accelerators_take_larger_microbatches(
    layers, backend, tokens, monkeypatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    config = dataclasses.replace(tiny_t5.CONFIG, num_layers=layers)
    place = placement.make(devices=jax.devices()[:1])
    assert place.microbatch_tokens(config) == tokens

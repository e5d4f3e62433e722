"""How a program lies on devices: rows of a batch are spread, all else is on each."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dtvg_jax.errors import InputError


def data_mesh(devices: Iterable[Any] | None = None) -> Mesh:
    """Puts devices, all of them for None, on one axis, "data"."""
    found = np.array(jax.devices() if devices is None else list(devices))
    return Mesh(found, ("data",), axis_types=(AxisType.Auto,))


def whole(mesh: Mesh) -> NamedSharding:
    """Places an array whole on every device: the backbone, the lanes' state."""
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
    """Spreads the second axis, rows, of a batch [K, B, ...] over the devices."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def check_rows(name: str, count: int, mesh: Mesh) -> None:
    """Raises InputError where `count` rows cannot be spread evenly."""
    if count % mesh.size:
        raise InputError(
            f"{name} = {count}: rows cannot be spread over {mesh.size} devices; give a "
            f"multiple of {mesh.size}"
        )

"""Where arrays lie: made once for a process, then passed to all that need it."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dtvg_jax.errors import InputError

# The fewer, the less is padded; below these a device is not busy.
MICROBATCH_TOKENS = {"cpu": 256, "gpu": 16384, "tpu": 16384}


class Placement(NamedTuple):
    """A mesh, and where parameters, the lanes' state and rows lie on it."""

    mesh: Mesh
    params: NamedSharding  # of the backbone
    lanes: NamedSharding  # of state and fixed inputs, [K, ...]
    rows: NamedSharding  # of a microbatch or block [R, ...]

    @property
    def microbatch_tokens(self) -> int:
        """The positions of a microbatch: enough to keep all devices busy."""
        return MICROBATCH_TOKENS[jax.default_backend()] * self.mesh.size

    @property
    def memory(self) -> int | None:
        """The bytes of the smallest device; None where it does not say, as a CPU."""
        said = [device.memory_stats() or {} for device in self.mesh.local_devices]
        limits = [one["bytes_limit"] for one in said if "bytes_limit" in one]
        return min(limits, default=None)

    def check_rows(self, name: str, count: int) -> None:
        """Raises InputError where `count` rows cannot be spread evenly."""
        if count % self.mesh.size:
            raise InputError(
                f"{name} = {count}: rows cannot be spread over {self.mesh.size} "
                f"devices; give a multiple of {self.mesh.size}"
            )


def make(devices: Iterable[object] | None = None) -> Placement:
    """Spreads rows over devices (None: all there are); the rest lies whole on each."""
    found = np.array(jax.devices() if devices is None else list(devices))
    mesh = Mesh(found, ("data",), axis_types=(AxisType.Auto,))
    whole = NamedSharding(mesh, PartitionSpec())
    rows = NamedSharding(mesh, PartitionSpec("data"))
    return Placement(mesh, whole, whole, rows)

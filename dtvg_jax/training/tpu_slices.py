"""TPU slices that are not here: their chips, as libtpu describes them."""

import importlib.util
import os
from collections.abc import Sequence
from typing import NamedTuple

from jax.experimental import topologies

from dtvg_jax.errors import InputError
from dtvg_jax.training import utilisation


class Chip(NamedTuple):
    """What a chip has: bytes of memory, and operations per second in bfloat16."""

    memory: int
    peak: float


# https://cloud.google.com/tpu/docs/v5e, v5p and v6e
CHIPS = {
    "v5e": Chip(16 * 2**30, utilisation.V5E.bfloat16),
    "v5p": Chip(95 * 2**30, utilisation.V5P.bfloat16),
    "v6e": Chip(32 * 2**30, utilisation.V6E.bfloat16),
}


def chip(topology: str) -> Chip:
    """Tells of the chips of a slice such as "v5e:2x4"; raises InputError if unknown."""
    kind = topology.partition(":")[0]
    if kind not in CHIPS:
        raise InputError(
            f"'{topology}' is no TPU slice that is known: it should be one of "
            f"{', '.join(CHIPS)} and its shape, such as v5e:2x4"
        )
    return CHIPS[kind]


def devices(topology: str) -> Sequence[object]:
    """Describes the chips of a TPU slice such as "v5e:2x4", as a list.

    Raises:
      InputError: where libtpu is absent or knows no such slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "compiling for a TPU needs the package libtpu: run `pip install libtpu`"
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
            "write it as v5e:2x4"
        ) from error
    return list(described.devices)

"""The families of backbones that can be read: a file for each, and their table.

A new family that is a Llama with small differences is a file like `qwen3` and its name
in this table. Whether it is decoder-only follows from its architecture, see
`models.backbone`.
"""

from dtvg_jax.errors import InputError, shown
from dtvg_jax.formats.configs import Attributes
from dtvg_jax.formats.families import llama, qwen2, qwen3, t5
from dtvg_jax.formats.families.family import Family

FAMILIES = (t5.FAMILY, llama.FAMILY, qwen2.FAMILY, qwen3.FAMILY)
BY_MODEL_TYPE = {kind: family for family in FAMILIES for kind in family.model_types}


def of(attributes: Attributes, where: str) -> Family:
    """Finds the family of the attributes in `where`; raises InputError without one."""
    kind = attributes.get("model_type")
    family = BY_MODEL_TYPE.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise InputError(
            f"{where}: model_type is {shown(kind)}; known are "
            f"{', '.join(BY_MODEL_TYPE)}"
        )
    return family

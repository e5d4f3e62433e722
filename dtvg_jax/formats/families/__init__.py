"""The families of backbones that are read: a file for each, and their table.

A new one that is a Llama with small differences is a file like `qwen3` and its name in
this table.  What is told of a family by its architecture (decoder-only or not, and with
it what PEFT and prompt-tuning call it) is said once, in `models.backbone`.
"""

from dtvg_jax.formats.families import llama, qwen2, qwen3, t5

FAMILIES = (t5.FAMILY, llama.FAMILY, qwen2.FAMILY, qwen3.FAMILY)
BY_MODEL_TYPE = {kind: family for family in FAMILIES for kind in family.model_types}

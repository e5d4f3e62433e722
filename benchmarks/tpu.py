"""Compiles the stage-1 step of many backbones for TPU slices, on a CPU.

    JAX_PLATFORMS=cpu python -m benchmarks.tpu > tpu.jsonl
    JAX_PLATFORMS=cpu python -m benchmarks.tpu --models=t5_1_1_xxl --slices=v5e:4x4

8 lanes of 8 rows, prompts of 100 rows, inputs of 256 and targets of 16 tokens,
bfloat16, no dropout, all rows one microbatch. Prints a line of JSON as soon as a row is
known: memory per chip, operations and their least time at the chip's peak rate, and
collectives. All rows of the table take hours on two cores; a line that is there need
not be made again, so ask for the others.
"""

import argparse
import json
import pathlib
from typing import Any, NamedTuple, cast

import gin
from dtvg_jax.errors import InputError
from dtvg_jax.formats import families
from dtvg_jax.methods import METHODS
from dtvg_jax.models.backbone import Config
from dtvg_jax.training import compile_ahead
from dtvg_jax.training.placement import Mesh

ROOT = pathlib.Path(__file__).parents[1]
SHAPES = compile_ahead.Shapes(
    lanes=8,
    groups=8,
    sources=0,
    prompt_length=100,
    batch_size=8,
    inputs_length=256,
    targets_length=16,
)


class Row(NamedTuple):
    """A row of the table; without a mesh it is the one that a job would choose."""

    model: str  # a file of gin/models
    slice: str
    mesh: Mesh | None = None
    remat: bool | None = None


# What is most asked for comes first.
ROWS = [
    Row("t5_1_1_xxl", "v5e:4x4", Mesh(fsdp=16), remat=True),
    Row("llama_3_1_8b", "v5e:4x4", Mesh(fsdp=16), remat=True),
    Row("t5_1_1_base", "v5e:2x4"),
    Row("llama_3_2_1b", "v5e:2x4"),
    Row("llama_3_2_3b", "v5e:2x4"),
    Row("t5_1_1_xl", "v5e:2x4"),
    Row("t5_1_1_xl", "v5e:4x4"),
    Row("llama_3_2_3b", "v5e:4x4"),
    Row("llama_3_1_8b", "v5p:2x2x2"),
    Row("t5_1_1_xxl", "v5p:2x2x2"),
    Row("llama_3_1_8b", "v6e:2x4"),
    Row("t5_1_1_xxl", "v6e:2x4"),
    Row("llama_3_1_8b", "v5e:4x4", Mesh(tensor=4), remat=True),
    Row("t5_1_1_xxl", "v5e:4x4", Mesh(tensor=4), remat=True),
    Row("t5_1_1_base", "v5p:2x2x2"),
    Row("t5_1_1_base", "v6e:2x4"),
    Row("llama_3_2_1b", "v5p:2x2x2"),
    Row("llama_3_2_1b", "v6e:2x4"),
    Row("t5_1_1_xl", "v6e:2x4"),
    Row("llama_3_2_3b", "v6e:2x4"),
    Row("t5_1_1_xxl", "v5e:2x4"),
    Row("llama_3_1_8b", "v5e:2x4"),
    Row("t5_1_1_base", "v5e:4x4"),
    Row("llama_3_2_1b", "v5e:4x4"),
    Row("t5_1_1_xl", "v5p:2x2x2"),
    Row("llama_3_2_3b", "v5p:2x2x2"),
]


def config_of(model: str) -> Config:
    """Reads the config that a file of gin/models gives."""
    gin.clear_config()
    gin.add_config_file_search_path(str(ROOT))
    gin.parse_config_file(f"gin/models/{model}.gin")
    attributes = cast(dict[str, Any], gin.query_parameter("job.Job.config"))
    return families.of(attributes, model).published(attributes)


def measure(row: Row) -> dict[str, Any]:
    """Compiles the step of a row."""
    about = {"model": row.model, "slice": row.slice}
    step = compile_ahead.Step(
        METHODS["prompt_tuning"], "adamw_stage1", SHAPES, dropout=False, remat=row.remat
    )
    try:
        found = compile_ahead.compile_steps(
            row.slice, config_of(row.model), {"step": step}, mesh=row.mesh
        )
    except InputError as error:
        return about | {"error": str(error)}
    return about | {k: v for k, v in found.items() if k != "topology"}


def main() -> None:
    """Compiles the rows that are asked for, and prints each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", help="of gin/models; all by default")
    parser.add_argument("--slices", help="such as v5e:2x4,v6e:2x4; all by default")
    given = parser.parse_args()
    for row in ROWS:
        if given.models and row.model not in given.models.split(","):
            continue
        if given.slices and row.slice not in given.slices.split(","):
            continue
        print(json.dumps(measure(row)), flush=True)


if __name__ == "__main__":
    main()

"""Times greedy decoding of real rows: seconds and peak memory, each in its own process.

    python benchmarks/decoding.py --data_dir=DIR --vocabulary=DIR [--only=sst2|squad]

T5-small's shapes with random weights, P = 100, 20 new tokens, everything else as a job
has it by default: 500 rows of SST-2, 200 of squad, of the training splits prepared
under --data_dir, tokenised with the spiece.model of --vocabulary. Prints JSON with the
seconds of a first call, which compiles, and of a second one.
"""

import argparse
import json
import resource
import time
from typing import Any

import data
import jax
import numpy as np
import step

from dtvg_jax.cli.quiet_imports import quiet_libraries
from dtvg_jax.data import token_table
from dtvg_jax.inference import split_decoding
from dtvg_jax.jobs.job import Job
from dtvg_jax.methods import initial_prompt
from dtvg_jax.models import backbone as backbones
from dtvg_jax.training import placement
from tasks.task_info import TASKS

ROWS = {"sst2": 500, "squad": 200}
TOKENS = 20


def measure(task: str, folder: str, words: str, bound: int) -> dict[str, Any]:
    """Decodes the first rows of a task twice, after a table of them is there."""
    vocabulary = data.vocabulary(words)
    params = backbones.init_params(step.T5_SMALL, jax.random.key(0))
    backbone = backbones.build("t5-small", step.T5_SMALL, params, vocabulary, "")
    table = token_table.head(data.table_of(task, folder, words), ROWS[task])
    embedding = backbone.embedding(params)
    prompts = initial_prompt.p_init(embedding, step.PROMPT_LENGTH, 0)[None]
    setup = split_decoding.Setup(backbone, placement.make(), Job.evaluation_batch_size)
    decode = split_decoding.make_decode(backbone)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        pairs = [split_decoding.Pair(0, table)]
        split_decoding.predict(decode, setup, np.asarray(prompts), pairs)
        seconds.append(round(time.perf_counter() - start, 2))
    return {
        "rows": len(table),
        "ids": int(table.input_offsets[-1]),
        "seconds": seconds,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--vocabulary", required=True, help="has spiece.model")
    parser.add_argument("--only", choices=ROWS)
    flags = parser.parse_args()
    quiet_libraries()
    results = {}
    for task in [flags.only] if flags.only else ROWS:
        # The table is made in a process of its own, with TensorFlow's memory.
        data.fresh(data.table_of, task, flags.data_dir, flags.vocabulary)
        where = (flags.data_dir, flags.vocabulary, TASKS[task].inputs_length)
        results[task] = data.fresh(measure, task, *where)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

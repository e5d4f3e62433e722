"""Times greedy decoding of real rows: seconds and peak memory, each in its own process.

    python -m benchmarks.decoding --data_dir=DIR --vocabulary=DIR [--rows_to=FOLDER]

T5-small's shapes with random weights, P = 100, 20 new tokens, everything else as a job
has it by default: 500 rows of SST-2, 200 of squad, of the training splits prepared
under --data_dir, tokenised with the spiece.model of --vocabulary. Prints JSON with the
seconds of a first call, which compiles, and of a second one. --rows_to keeps the same
rows for benchmarks/peers/t5_generate.py.
"""

import argparse
import dataclasses
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import lengths, models, rows
from dtvg_jax.cli import host_settings
from dtvg_jax.cli.quiet_imports import quiet_libraries
from dtvg_jax.data import token_table
from dtvg_jax.files import JsonObject
from dtvg_jax.inference import split_decoding
from dtvg_jax.jobs.job import Job
from dtvg_jax.methods import initial_prompt
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.training import placement

ROWS = {"sst2": 500, "squad": 200}
PROMPT_LENGTH, TOKENS = 100, 20


def measure(task: str, flags: argparse.Namespace, cache: str) -> JsonObject:
    """Decodes the first rows of a task twice."""
    backbone = models.random_backbone(models.T5_SMALL, pathlib.Path(flags.vocabulary))
    case = lengths.Case((task,), PROMPT_LENGTH, 0)
    [whole] = lengths.tables(case, backbone, flags.data_dir, cache)
    table = token_table.head(whole, ROWS[task])
    if flags.rows_to:
        chosen = rows.of_table(table, np.arange(len(table)))
        rows.write(pathlib.Path(flags.rows_to, f"{task}.npz"), *chosen)
    metadata = dataclasses.replace(table.metadata, lengths=(table.lengths[0], TOKENS))
    pairs = [split_decoding.Pair(0, dataclasses.replace(table, metadata=metadata))]
    embedding = backbone.embedding(backbone.params)
    prompts = initial_prompt.p_init(embedding, PROMPT_LENGTH, 0)[None]
    setup = split_decoding.Setup(backbone, placement.make(), Job.evaluation_batch_size)
    decode = split_decoding.make_decode(backbone)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        split_decoding.predict(decode, setup, Prompts(prompts), pairs)
        seconds.append(round(time.perf_counter() - start, 2))
    return {
        "rows": len(table),
        "ids": int(table.input_offsets[-1]),
        "seconds": seconds,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def main() -> None:
    """Measures each task in a process of its own, once its table is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--vocabulary", required=True, help="has spiece.model")
    parser.add_argument("--rows_to", help="keep the rows as FOLDER/TASK.npz")
    parser.add_argument("--of", nargs=2, help=argparse.SUPPRESS)  # task, cache
    flags = parser.parse_args()
    quiet_libraries()
    if flags.of:
        task, cache = flags.of
        print(json.dumps(measure(task, flags, cache)))
        return
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for task in ROWS:
            command = [sys.executable, "-m", "benchmarks.decoding", *sys.argv[1:]]
            command += ["--of", task, cache]
            # Twice: the first process tokenises, with TensorFlow's memory in its peak.
            runs = [
                subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                for _ in range(2)
            ]
            found[task] = json.loads(runs[-1].stdout.splitlines()[-1])
    print(json.dumps(found | {"host_settings": host_settings.TUNABLES}, indent=1))


if __name__ == "__main__":
    main()

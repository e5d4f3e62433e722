"""Times the data pipeline from prepared data to batches, per task and for many rows.

    python -m benchmarks.data --data_dir=DIR [--vocabulary=DIR] [--rows=2000]
    python -m benchmarks.data --many_rows=sst2|squad [--vocabulary=DIR]

The first form prints a table of all tasks that are prepared under DIR ("miniature":
generated data), in rows per second of one core: reading and formatting, tokenising,
and batches from the token table. The rows of a split are repeated up to --rows; the
least of three times is reported. The second form writes generated data of 10,000 and
of 100,000 rows and prints JSON: time and memory of writing the token table, and of a
second start, each in its own process. --vocabulary is a folder with spiece.model; by
default the miniature's.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import resource
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from dtvg_jax.cli.quiet_imports import quiet_libraries
from dtvg_jax.data import (
    catalogue,
    microbatches,
    prepared,
    source,
    token_table,
    token_table_files,
    tokenise,
)
from dtvg_jax.errors import InputError
from dtvg_jax.formats import load, vocabularies
from tasks.task_info import TASKS, TaskInfo

BATCH, STEPS = 32, 200
SPEEDS = ("text", "tokens", "batches")
WORDS = (
    "the a of in river film town actor story song warm slow funny old new small great "
    "who when wrote won lost made built near under and but never often quickly"
).split()


def vocabulary(folder: str | None) -> Any:
    """Loads a T5's vocabulary, by default that of the miniature."""
    if folder is None:
        return load.open_source("miniature").vocabulary()
    where = pathlib.Path(folder).expanduser()
    return vocabularies.load_vocabulary(where, decoder_only=False, rows=32128)


def read(task: Any, count: int) -> tuple[str, list[tokenise.TextRow], float, float]:
    """Formats `count` rows of the first split that can be read, in stored order.

    Returns:
      The split, its rows, and the seconds until the first row and from it to the last.

    Raises:
      InputError: if no split can be read; its message is that of "train".
    """
    repeat = lambda rows: rows.repeat().take(count)
    repeated = task.replace(preprocessors=[repeat, *task.preprocessors])
    refused = []
    for split in ("train", "test"):
        start = time.perf_counter()
        stream = source.text_rows(repeated, split)
        try:
            first = next(stream)
        except InputError as error:
            refused.append(error)
            continue
        ready = time.perf_counter()
        rows = [first, *stream]
        return split, rows, ready - start, time.perf_counter() - ready
    raise refused[0]


def measure(info: TaskInfo, folder: pathlib.Path, words: Any, count: int) -> dict:
    """Measures one task on its own rows.

    Raises:
      InputError: if its data are not prepared.
    """
    task = source.open_task(info.seqio_name, "tasks.all", folder)
    split, rows, start, seconds = min(
        (read(task, count) for _ in range(3)), key=lambda found: found[-1]
    )
    lengths = (info.inputs_length, info.targets_length)
    chunks = list(tokenise.chunks(rows))
    encode = lambda: [tokenise.tokenise(chunk, words, lengths) for chunk in chunks]
    with tempfile.TemporaryDirectory() as cache:
        made = pathlib.Path(cache) / "table"
        origin = token_table_files.Origin(info.name, split, {})
        token_table_files.write(made, rows, words, lengths, origin)
        table = token_table.read_table(made, {}, catalogue.Scoring(()))
        draw = lambda: [batch(table, step) for step in range(STEPS)]
        speeds = {
            "text": (len(rows) - 1) / seconds,
            "tokens": len(rows) / least(encode),
            "batches": STEPS * BATCH / least(draw),
        }
        ids = int(table.input_offsets[-1] / len(table))
    return {"task": info.name, "split": split, "ids": ids, "start": start} | speeds


def batch(table: token_table.TokenTable, step: int) -> list[microbatches.Rows]:
    """Makes the rows of a step of one lane, in one microbatch."""
    longest = microbatches.Bucket(
        int(table.input_lengths.max()), int(table.target_lengths.max()), BATCH
    )
    cut = microbatches.Cut((longest,), 0)
    return microbatches.make([microbatches.Stream(table, 0)], [0], step, BATCH, cut)


def least(run: Callable[[], Any]) -> float:
    """Returns the least time of three runs, in seconds."""
    return min(timeit.repeat(run, number=1, repeat=3))


def all_tasks(data_dir: str, words: Any, count: int) -> None:
    """Measures and prints every prepared task, and lists the others with the reason."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cache = os.path.expanduser("~/.cache/dtvg_jax")
    builders = [info.builder for info in TASKS.values()]
    folder = prepared.folder(data_dir, cache, builders)
    found, missing = [], []
    for info in TASKS.values():
        try:
            found.append(measure(info, folder, words, count))
        except InputError as error:
            missing.append(f"{info.name}: {error}")
            continue
        print(f"{info.name} measured", file=sys.stderr)
    rows = [("task", "split", "ids", "start s", *(f"{name}/s" for name in SPEEDS))]
    for row in found:
        speeds = (f"{row[name]:,.0f}" for name in SPEEDS)
        rows.append(
            (row["task"], row["split"], str(row["ids"]), f"{row['start']:.1f}", *speeds)
        )
    print("\n".join(aligned(rows)))
    for name in SPEEDS:
        slowest = min(found, key=lambda row: row[name])
        print(f"slowest, {name}: {slowest['task']}")
    for reason in missing:
        print(f"not measured: {reason}")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pads cells to column widths, numbers right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i > 1 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def generated(task: str, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields raw rows of SST-2 (9 words) or SQuAD (120 words) with their keys."""
    random = np.random.RandomState(0)
    for i in range(count):
        text = " ".join(random.choice(WORDS, 9 if task == "sst2" else 130))
        if task == "sst2":
            yield i, {"sentence": text, "label": i % 2, "idx": i}
            continue
        words = text.split()
        yield (
            i,
            {
                "id": str(i),
                "title": "generated",
                "context": " ".join(words[10:]) + ".",
                "question": " ".join(words[:10]) + "?",
                "answers": {"text": [" ".join(words[10:12])], "answer_start": [0]},
            },
        )


def prepare(task: str, count: int, data_dir: str) -> None:
    """Writes `count` training rows, and those for validation, with the real builder."""
    quiet_libraries()
    from tasks import splits
    from tasks.miniature import datasets

    rows = generated(task, count + splits.CARVED)
    datasets.prepare(TASKS[task].builder, pathlib.Path(data_dir), {"train": rows})


def table_of(task: str, folder: str, words: str | None) -> token_table.TokenTable:
    """Opens the token table of a training split, building it if it is absent."""
    info = TASKS[task]
    settings = token_table.TableSettings(
        vocabulary(words),
        (info.inputs_length, info.targets_length),
        cache_dir=f"{folder}/cache",
        tfds_data_dir=folder,
    )
    return token_table.token_table(task, "train", settings)


def first_start(task: str, folder: str, words: str | None) -> dict[str, Any]:
    """Writes the table while sampling the memory of this process."""
    quiet_libraries()
    source.open_task(TASKS[task].seqio_name, "tasks.all", folder)  # loads TensorFlow
    before, samples, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            samples.append(resident())

    watching = threading.Thread(target=watch)
    watching.start()
    start = time.perf_counter()
    table = table_of(task, folder, words)
    seconds = time.perf_counter() - start
    done.set()
    watching.join()
    size = sum(file.stat().st_size for file in table.folder.iterdir())
    return {
        "rows": len(table),
        "table_mb": round(size / 1e6, 1),
        "write_seconds": round(seconds, 1),
        "rows_per_second": round(len(table) / seconds),
        "before_mb": round(before / 1e6),
        "growth_mb": round((max(samples) - before) / 1e6),
    }


def second_start(
    task: str, folder: str, words: str | None, asked: float
) -> dict[str, Any]:
    """Makes a batch from an existing table; `asked` is when the process was started."""
    start = time.perf_counter()
    table = table_of(task, folder, words)
    opened = time.perf_counter()
    batch(table, 0)
    drawn = time.perf_counter()
    return {
        "open_seconds": round(opened - start, 3),
        "first_batch_seconds": round(drawn - opened, 3),
        "process_seconds": round(time.time() - asked, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "tensorflow": "tensorflow" in sys.modules,
    }


def resident() -> int:
    """Returns the resident memory of this process in bytes."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def fresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a new process."""
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def many_rows(task: str, words: str | None) -> None:
    """Measures tables of 10,000 and 100,000 rows and prints JSON."""
    results = {}
    for count in (10_000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            fresh(prepare, task, count, folder)
            first = fresh(first_start, task, folder, words)
            second = fresh(second_start, task, folder, words, time.time())
        results[f"{task}, {count:,}"] = {"first": first, "second": second}
    print(json.dumps(results, indent=1))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", default="miniature")
    parser.add_argument("--vocabulary", help="a folder with spiece.model")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--many_rows", choices=("sst2", "squad"))
    flags = parser.parse_args()
    quiet_libraries()
    if flags.many_rows:
        many_rows(flags.many_rows, flags.vocabulary)
    else:
        all_tasks(flags.data_dir, vocabulary(flags.vocabulary), flags.rows)


if __name__ == "__main__":
    main()

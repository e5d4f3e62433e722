"""Command: answer lines with stored prompts.

echo '{"task": "sst2", "sentence": "a good film"}' | python -m dtvg_jax.predict \\
    --store=jobs/quickstart/store

A line is a JSON object with the fields of its task, or with "inputs", the whole text;
or it is plain text. "prompt" names an entry of the store; otherwise --prompt holds, or
the entry of the task by --method and --seed. Answers are JSON lines, in order; a bad
line is answered with its number and what is wrong with it.
"""

import json
import sys
import time
from collections.abc import Iterator

from absl import flags

from dtvg_jax.cli import app
from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.inference import predict_lines
from dtvg_jax.store.prompt_store import PromptStore

STORE = flags.DEFINE_string("store", None, "Folder of prompts; none: no prompt.")
PROMPT = flags.DEFINE_string("prompt", None, "The entry for lines that name none.")
METHOD = flags.DEFINE_string("method", "dtvg", "Of a task's entry; else its stage1.")
SEED = flags.DEFINE_integer("seed", None, "Of a task's entry; the smallest if absent.")
BACKBONE = flags.DEFINE_string("backbone", "miniature", "The prompts' model.")
DTYPE = flags.DEFINE_string("dtype", "float32", "float32 or bfloat16.")
FILES = flags.DEFINE_multi_string("file", [], "A file of lines; else standard input.")
LENGTH = flags.DEFINE_integer("inputs_length", 256, "Most tokens of an input.", 2)
ANSWER = flags.DEFINE_integer("targets_length", 16, "Most tokens of an answer.", 1)
BATCH = flags.DEFINE_integer("batch_size", 32, "Rows that are answered at once.", 1)
RAW = flags.DEFINE_bool(
    "raw", False, "Take texts as they are: a Llama's without Label."
)
CACHE_DIR = flags.DEFINE_string("cache_dir", "~/.cache/dtvg_jax", "Compiled programs.")


def main(command: list[str], check: app.Check) -> None:
    """Answers all lines, and tells the rate on standard error."""
    del command
    app.cache_compilations(CACHE_DIR.value)
    backbone = load_backbone(BACKBONE.value, DTYPE.value)
    learned = PromptStore(STORE.value) if STORE.value else None
    settings = predict_lines.PredictSettings(
        prompt=PROMPT.value,
        method=METHOD.value,
        seed=SEED.value,
        inputs_length=LENGTH.value,
        targets_length=ANSWER.value,
        batch_size=BATCH.value,
        raw=RAW.value,
    )
    start, count = time.monotonic(), 0
    for answer in predict_lines.predict(backbone, learned, _lines(), settings, check):
        print(json.dumps(answer, ensure_ascii=False), flush=True)
        count += 1
    seconds = time.monotonic() - start
    print(f"{count} lines in {seconds:.1f} s: {count / seconds:.0f}/s", file=sys.stderr)


def _lines() -> Iterator[bytes]:
    if not FILES.value:
        yield from sys.stdin.buffer
    for name in FILES.value:
        try:
            with open(name, "rb") as file:
                yield from file
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from None


def run() -> None:
    """Entry point."""
    app.run(main, sys.argv)


if __name__ == "__main__":
    run()

"""python -m dtvg_jax.predict --store=jobs/quickstart/store --file=lines.jsonl

Answers lines with stored prompts. A line is a JSON object with the fields of its task,
such as {"task": "sst2", "sentence": "a good film"}, or with "inputs", the whole text;
or it is plain text. "prompt" names an entry of the store; otherwise --prompt does, or
it is the entry of the task with --method and --seed. Answers are JSON lines, in order;
a faulty line is answered with its number and what is wrong with it.
"""

import json
import sys
import time
from collections.abc import Iterator

from absl import flags

from dtvg_jax import files
from dtvg_jax.cli import command, compilation_cache, model_flags, signals
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.inference import predict_lines
from dtvg_jax.store.prompt_store import PromptStore

FLAGS = flags.FlagValues()
STORE = flags.DEFINE_string(
    "store", None, "Folder of the prompt store; without it, no prompt is used.", FLAGS
)
PROMPT = flags.DEFINE_string(
    "prompt", None, "Entry of the store for lines that name none.", FLAGS
)
METHOD = flags.DEFINE_string(
    "method", "dtvg", "Method of a task's entry; stage1 where there is none.", FLAGS
)
SEED = flags.DEFINE_integer(
    "seed", None, "Seed of a task's entry; the smallest by default.", flag_values=FLAGS
)
MODEL = model_flags.define(FLAGS)
FILES = flags.DEFINE_multi_string(
    "file", [], "File of lines; may be repeated. Standard input by default.", FLAGS
)
INPUTS = flags.DEFINE_integer(
    "inputs_length", 256, "Inputs are truncated to so many tokens.", 2, None, FLAGS
)
TARGETS = flags.DEFINE_integer(
    "targets_length", 16, "Most tokens of an answer.", 1, None, FLAGS
)
RAW = flags.DEFINE_bool(
    "raw", False, 'Take texts as they are: for a Llama, without " Label : ".', FLAGS
)


def main(words: list[str], check: signals.Check) -> None:
    """Answers all lines, and reports the rate on standard error."""
    compilation_cache.enable(MODEL.cache_dir.value)
    backbone = load_backbone(MODEL.backbone.value, MODEL.dtype.value)
    learned = PromptStore(STORE.value) if STORE.value else None
    if learned is not None:
        command.say_strays(learned.strays())
    settings = predict_lines.PredictSettings(
        prompt=PROMPT.value,
        method=METHOD.value,
        seed=SEED.value,
        inputs_length=INPUTS.value,
        targets_length=TARGETS.value,
        batch_size=MODEL.batch_size.value,
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
        with files.expand(name).open("rb") as file:
            yield from file


COMMAND = command.Command(__doc__ or "", FLAGS, main, stop=command.Stop.AFTER_STEP)


def run() -> None:
    """Runs the command with the arguments of this process."""
    command.run(COMMAND, sys.argv)


if __name__ == "__main__":
    run()

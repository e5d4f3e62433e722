"""python -m dtvg_jax.predict --store=jobs/quickstart/store --file=lines.jsonl

Answers lines with stored prompts. A line is a JSON object with the fields of its task,
such as {"task": "sst2", "sentence": "a good film"}, or with "inputs", the whole text;
or it is plain text. --tasks_module names the module of tasks of your own. "prompt"
names an entry of the store; otherwise --prompt does, or it is the entry of the task
with --method and --seed. --scoring=rank answers with the likeliest of the task's
labels instead of decoding. Answers are JSON lines, in order; a faulty line is answered
with its number and what is wrong with it.
"""

import io
import json
import sys
import time
from collections.abc import Iterator, Sequence

from absl import flags

from dtvg_jax import files
from dtvg_jax.cli import (
    command,
    compilation_cache,
    model_flags,
    signals,
    standard_streams,
)
from dtvg_jax.errors import InputError

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
TASKS_MODULE = flags.DEFINE_string(
    "tasks_module", "tasks.all", "Python module that registers the tasks.", FLAGS
)
INPUTS = flags.DEFINE_integer(
    "inputs_length",
    None,
    "Inputs are truncated to so many tokens; as the prompt was learned by default.",
    2,
    None,
    FLAGS,
)
TARGETS = flags.DEFINE_integer(
    "targets_length",
    None,
    "Most tokens of an answer; as the prompt was learned by default.",
    1,
    None,
    FLAGS,
)
RAW = flags.DEFINE_bool(
    "raw", False, 'Take texts as they are: for a Llama, without " Label : ".', FLAGS
)
SCORING = model_flags.define_scoring(FLAGS)


def main(words: list[str], received: signals.Signals) -> None:
    """Answers all lines, and reports the rate on standard error."""
    given = opened(FILES.value)
    # After flags and files, so that what is wrong with them need not wait for JAX.
    from dtvg_jax.inference import predict_lines, ranking, request_lines
    from dtvg_jax.store.prompt_store import PromptStore
    from dtvg_jax.training import placement

    lines = (line for file in given for line in request_lines.split(file))
    compilation_cache.enable(MODEL.cache_dir.value)
    backbone, _ = placement.load(
        MODEL.backbone.value, MODEL.dtype.value, cache_dir=MODEL.cache_dir.value
    )
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
        tasks_module=TASKS_MODULE.value,
        raw=RAW.value,
        scoring=ranking.Scoring(SCORING.value),
    )
    start, count = time.monotonic(), 0
    for answer in predict_lines.predict(backbone, learned, lines, settings):
        # In one write, so that a signal does not come between a line and its end.
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        count += 1
    seconds = time.monotonic() - start
    print(f"{count} lines in {seconds:.1f} s: {count / seconds:.0f}/s", file=sys.stderr)


def opened(names: Sequence[str]) -> Iterator[io.BufferedIOBase]:
    """Opens files one after the other, or standard input.

    Raises InputError, before any is opened, for one that is absent or a folder.
    """
    if not names:
        return iter([standard_streams.standard_input()])
    paths = [files.expand_local(name, "the lines") for name in names]
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file {path}")
        if path.is_dir():
            raise InputError(f"{path} is a folder: give a file of lines")
    return (path.open("rb") for path in paths)


COMMAND = command.Command(__doc__ or "", FLAGS, main)


def run() -> None:
    """Runs the command with the arguments of this process."""
    command.run(COMMAND, sys.argv)


if __name__ == "__main__":
    run()

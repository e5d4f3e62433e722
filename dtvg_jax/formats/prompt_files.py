"""Prompts in the formats of others: PEFT, .npy, google-research/prompt-tuning.

Reading gives rows `[P, H]` in float32; writing gives the bytes of each file, by its
name after that of the prompt, so that the caller decides when they appear.
"""

import io
import json
import pathlib
from typing import NamedTuple

import numpy as np
import safetensors
from jaxtyping import Float
from safetensors import numpy as safetensors_numpy

from dtvg_jax import files
from dtvg_jax.errors import InputError, shown
from dtvg_jax.models import backbone

Rows = Float[np.ndarray, "P H"]

# The version of PEFT whose files these are, field by field.
PEFT_VERSION = "0.21.2"
# By whether a backbone is decoder-only, as its architecture says.
PEFT_TASKS = {False: "SEQ_2_SEQ_LM", True: "CAUSAL_LM"}
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PEFT_TENSOR = "prompt_embeddings"
# google-research/prompt-tuning names the file of an array by its place in the model.
NUMPY_FOLDER = "numpy_checkpoints"
STACKS = {False: "encoder", True: "decoder"}
PROMPT = "prompt.prompt.prompt"
DTYPES = ("float32", "float16", "bfloat16")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


class Prompt(NamedTuple):
    """A prompt that was read.

    decoder_only: whether it is for a decoder-only backbone; None if the file is silent
    notes: what the user should know of how it was read
    """

    rows: Rows
    decoder_only: bool | None = None
    notes: tuple[str, ...] = ()


def read(path: pathlib.Path) -> Prompt:
    """Reads a prompt: a PEFT folder, a NumPy file, a folder of prompt-tuning's.

    Raises InputError for any other file, a damaged one, and arrays that are not [P, H].
    """
    if path.is_dir():
        prompt = _read_peft(path) if (path / PEFT_CONFIG).is_file() else None
        prompt = prompt or _read_numpy(_newest(path))
    elif path.suffix in PICKLES:
        raise _pickle(path)
    elif path.exists():
        prompt = _read_numpy(path)
    else:
        raise InputError(
            f"the prompt {path} is not there: it should be a PEFT adapter's folder or "
            "a NumPy file"
        )
    rows = prompt.rows
    if rows.ndim != 2 or 0 in rows.shape or str(rows.dtype) not in DTYPES:
        raise InputError(
            f"{path} holds {rows.dtype} {list(rows.shape)}; a prompt is [P, H], of "
            f"{', '.join(DTYPES)}"
        )
    if not np.isfinite(rows).all():
        raise InputError(f"{path} holds values that are not finite")
    return prompt._replace(rows=np.ascontiguousarray(rows, np.float32))


def npy(rows: Rows) -> dict[str, bytes]:
    """Gives the file of `numpy.save`."""
    return {".npy": _numpy_bytes(rows)}


def prompt_tuning(rows: Rows, *, decoder_only: bool, step: int) -> dict[str, bytes]:
    """Gives the file of google-research/prompt-tuning: .npy without the suffix."""
    name = f"checkpoint_{step}/{STACKS[decoder_only]}.{PROMPT}"
    return {f"/{NUMPY_FOLDER}/{name}": _numpy_bytes(rows)}


def peft(rows: Rows, config: backbone.Config, base_model: str) -> dict[str, bytes]:
    """Gives the files of a PEFT prompt tuning adapter.

    `num_transformer_submodules` is 1: the prompt is before the encoder only. PEFT's
    own default for a T5 is 2, which doubles the rows and uses the first half.
    """
    decoder_only = backbone.architecture(config).decoder_only
    attributes = {
        "auto_mapping": None,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "modules_to_save": None,
        "num_attention_heads": config.num_attention_heads,
        "num_layers": config.num_hidden_layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": rows.shape[0],
        "peft_type": "PROMPT_TUNING",
        "peft_version": PEFT_VERSION,
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": None,
        "revision": None,
        "task_type": PEFT_TASKS[decoder_only],
        "token_dim": rows.shape[1],
        "tokenizer_kwargs": None,
        "tokenizer_name_or_path": None,
    }
    arrays = {PEFT_TENSOR: np.ascontiguousarray(rows)}
    # The config comes last: without it a folder is not an adapter.
    return {
        f"/{PEFT_WEIGHTS}": safetensors_numpy.save(arrays, {"format": "pt"}),
        f"/{PEFT_CONFIG}": json.dumps(attributes, indent=2, sort_keys=True).encode(),
    }


def _read_peft(folder: pathlib.Path) -> Prompt:
    config_path, path = folder / PEFT_CONFIG, folder / PEFT_WEIGHTS
    config = files.read_json(config_path, "save the adapter again")
    decoder_only = _check_peft_config(config_path, config)
    rows = _peft_rows(path)
    count, width = config.get("num_virtual_tokens"), config.get("token_dim")
    shapes = [(count, width), (2 * count, width)] if type(count) is int else []
    if rows.shape not in shapes:
        raise InputError(
            f"{path}: {PEFT_TENSOR} is {list(rows.shape)}, but {PEFT_CONFIG} says "
            f"num_virtual_tokens {count!r} and token_dim {width!r}"
        )
    if len(rows) == count:
        return Prompt(rows, decoder_only)
    note = (
        f"{folder} has 2 x {count} rows, as PEFT makes for a T5 unless it is told "
        f"num_transformer_submodules=1; the first {count} are the prompt, PEFT never "
        "uses the others."
    )
    return Prompt(rows[:count], decoder_only, (note,))


def _check_peft_config(path: pathlib.Path, config: files.JsonObject) -> bool | None:
    """Tells whether an adapter is for a decoder-only model; None if it does not say.

    Raises InputError for adapters of other kinds than a prompt alone.
    """
    if config.get("peft_type") != "PROMPT_TUNING":
        raise InputError(
            f"{path}: peft_type is {config.get('peft_type')!r}; only PROMPT_TUNING is "
            "one prompt in front of the input"
        )
    by_task = {task: decoder_only for decoder_only, task in PEFT_TASKS.items()}
    task = config.get("task_type")
    if task is not None and task not in by_task:
        raise InputError(
            f"{path}: task_type is {shown(task)}; an adapter with a head of its own is "
            f"not read, only {' and '.join(by_task)}"
        )
    if config.get("modules_to_save"):
        raise InputError(
            f"{path}: modules_to_save is {shown(config['modules_to_save'])}; a prompt "
            "alone is read"
        )
    return by_task.get(str(task))


def _peft_rows(path: pathlib.Path) -> np.ndarray:
    """Reads the one tensor of an adapter; an empty array if it has none."""
    if not path.exists():
        pickles = [p for p in path.parent.iterdir() if p.suffix in PICKLES]
        raise _pickle(pickles[0]) if pickles else InputError(f"{path} is missing")
    files.check_regular(path)
    try:
        arrays = safetensors_numpy.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole safetensors file: {error}") from error
    if others := sorted(arrays.keys() - {PEFT_TENSOR}):
        raise InputError(
            f"{path} holds {', '.join(others)} beside {PEFT_TENSOR}; a prompt alone is "
            "read, and nothing of an adapter is left out"
        )
    return arrays.get(PEFT_TENSOR, np.zeros(0))


def _newest(folder: pathlib.Path) -> pathlib.Path:
    """Finds prompt-tuning's file in a run's folder or one of its steps."""
    root = folder / NUMPY_FOLDER if (folder / NUMPY_FOLDER).is_dir() else folder
    found = [*root.glob(f"*.{PROMPT}"), *root.glob(f"checkpoint_*/*.{PROMPT}")]
    if adapters := sorted(folder.glob(f"*/{PEFT_CONFIG}")):
        raise InputError(
            f"{folder} holds an adapter by name: give its own folder, "
            f"{adapters[0].parent}"
        )
    if not found:
        raise InputError(
            f"{folder} holds no prompt: neither {PEFT_CONFIG} of PEFT nor "
            f"{STACKS[False]}.{PROMPT} of prompt-tuning"
        )

    def step(path: pathlib.Path) -> int:
        digits = path.parent.name.rpartition("_")[2]
        return int(digits) if digits.isdecimal() else -1

    return max(found, key=step)


def _read_numpy(path: pathlib.Path) -> Prompt:
    names = {
        f"{STACKS[decoder_only]}.{PROMPT}": decoder_only for decoder_only in STACKS
    }
    files.check_regular(path)
    try:
        # Mapped, since a header may ask for memory for more rows than the file has.
        return Prompt(np.lib.format.open_memmap(path, mode="r"), names.get(path.name))
    except (ValueError, EOFError, OSError, OverflowError) as error:
        if "Python objects" in str(error):
            raise _pickle(path) from error
        raise InputError(f"{path} is not a whole NumPy file: {error}") from error


def _pickle(path: pathlib.Path) -> InputError:
    return InputError(
        f"{path} is a pickle, which can run code and is not read; where it was made, "
        "save the array alone: numpy.save('prompt.npy', array), or with PEFT "
        "model.save_pretrained(folder), which writes safetensors"
    )


def _numpy_bytes(rows: Rows) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(rows, np.float32))
    return file.getvalue()

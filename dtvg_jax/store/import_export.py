"""Converts learned prompts of a store to and from the formats of other programs."""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dtvg_jax import files, task_vectors
from dtvg_jax.errors import InputError
from dtvg_jax.formats import hugging_face, load, prompt_files, t5x
from dtvg_jax.formats.tensors import Slot
from dtvg_jax.methods import initial_prompt, row_prompts
from dtvg_jax.models import backbone, t5
from dtvg_jax.store import entries
from dtvg_jax.store.entries import EntryName, Fit, Metadata
from dtvg_jax.store.prompt_store import PromptStore

FORMATS = ("peft", "npy", "prompt_tuning")
BACKBONE_FORMATS = ("t5x", "hugging_face")
TASK = re.compile(r"[\w.+-]*\w[\w.+-]*")
EMBEDDING = Slot("token_embedder/embedding")


class Target(NamedTuple):
    """Where prompts are exported to, and in which format.

    `base_model` is the model that a PEFT adapter names; None: the backbone's folder.
    """

    out: files.Path
    format: str  # of FORMATS
    source: load.Source | None = None  # the backbone, needed by all but "npy"
    base_model: str | None = None


def export_prompts(
    prompt_store: PromptStore, names: Sequence[str], to: Target
) -> list[files.Path]:
    """Writes entries of a store under their names; all of them or none.

    Raises InputError for an entry of another backbone, and where a file would be
    overwritten.
    """
    if to.source is None and to.format != "npy":
        raise InputError(
            f"the format {to.format} says what model a prompt is for: name the backbone"
        )
    if not names:
        raise InputError(f"{prompt_store.folder} has no prompts to export")
    made: dict[files.Path, bytes] = {}
    for name in names:
        for suffix, content in _exported(prompt_store, name, to).items():
            made[to.out / f"{name}{suffix}"] = content
    if existing := sorted(str(path) for path in made if path.exists()):
        raise InputError(
            f"{existing[0]} already exists, and nothing is overwritten: remove it or "
            "write to another folder"
        )
    for path, content in made.items():
        files.write_bytes(path, content)
    return list(made)


def _exported(prompt_store: PromptStore, name: str, to: Target) -> dict[str, bytes]:
    """Gives the files of an entry, by the suffix that follows its name."""
    entry = prompt_store.read(name)
    if row_prompts.are_in(entry.arrays):
        raise InputError(
            f"{name} has a prompt of its own for each row, which no other program can "
            "make: name the entries to export without it"
        )
    rows, source = entry.arrays["prompt"], to.source
    if source is None:
        return prompt_files.npy(rows)
    _check_fit(name, rows, source)
    # An imported prompt may not know its backbone.
    if entry.metadata.backbone_digest is not None:
        digest, config = source.checkpoint.digest(), backbone.described(source.config)
        prompt_store.read(name, Fit(backbone_digest=digest, backbone_config=config))
    if to.format == "npy":
        return prompt_files.npy(rows)
    if to.format == "peft":
        base_model = to.base_model or source.place
        return prompt_files.peft(rows, source.config, base_model)
    return prompt_files.prompt_tuning(
        rows,
        decoder_only=backbone.architecture(source.config).decoder_only,
        step=entry.metadata.step or 0,
    )


class Import(NamedTuple):
    """A prompt file to import, and the name of its entry."""

    name: EntryName
    path: pathlib.Path


class _Imported(NamedTuple):
    """A prompt that was read and checked, and the P_init that its vector starts at."""

    source: Import
    rows: Float[np.ndarray, "P H"]
    p_init: Float[np.ndarray, "P H"]


def parse_import(given: str, method: str, seed: int) -> Import:
    """Reads "TASK=PATH", or a PATH that names the task, or the path of an export."""
    task, sign, rest = given.partition("=")
    path = files.expand_local(rest if sign else given, "a prompt to import")
    if not sign:
        task = path.stem if path.suffix == ".npy" else path.name
        folder = path.absolute().parent.name
        try:
            return Import(entries.parse(f"{folder}/{task}"), path)
        except InputError:
            pass  # not the path of an exported prompt, which keeps its entry's name
    if not TASK.fullmatch(task) or task.endswith(prompt_files.PROMPT):
        raise InputError(f"{given!r}: name the task of this prompt, as TASK=PATH")
    return Import(EntryName(task, method, seed), path)


def import_prompts(
    prompt_store: PromptStore,
    wanted: Sequence[Import],
    source: load.Source | None = None,
    dtype: str = "float32",
    p_init: pathlib.Path | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Puts prompts of other programs into a store, each with metadata; all or none.

    A prompt's vector is its difference from `p_init`, a prompt file; without one, from
    the P_init that a job with this backbone draws by the prompt's seed; without a
    backbone, from zero. `say` gets a line for each. Raises InputError for a prompt
    that does not fit the backbone.
    """
    if len({one.name for one in wanted}) < len(wanted):
        raise InputError("two of the prompts have the same name; give TASK=PATH")
    read = [prompt_files.read(one.path) for one in wanted]
    for one, prompt in zip(wanted, read, strict=True):
        if source is not None:
            _check_fit(str(one.path), prompt.rows, source, prompt.decoder_only)
    start = _start_of(source, dtype, p_init)
    # All are checked before the first is written.
    imported = [
        _with_start(one, prompt, start, say)
        for one, prompt in zip(wanted, read, strict=True)
    ]
    about_backbone = _about_backbone(source)
    for (name, path), rows, first in imported:
        metadata = dataclasses.replace(
            about_backbone,
            task=name.task,
            method=name.method,
            seed=name.seed,
            prompt_length=rows.shape[0],
            width=rows.shape[1],
            p_init_digest=prompt_store.write_p_init(first),
            imported_from=path.name,
        )
        prompt_store.write({"prompt": rows, "tpv": rows - first}, metadata)


def similarities(
    prompt_store: PromptStore, names: Sequence[str]
) -> Float[np.ndarray, "S S"]:
    """Computes the paper's similarity of the task prompt vectors of all entry pairs.

    Raises InputError where they start from different P_init.
    """
    read = [prompt_store.read(name) for name in names]
    starts = {entry.metadata.p_init_digest for entry in read}
    if len(starts) != 1:
        raise InputError(
            f"the {len(names)} entries of {prompt_store.folder} start from "
            f"{len(starts)} different P_init; vectors of one start are compared: name "
            "such entries"
        )
    vectors = jnp.stack([entry.arrays["tpv"] for entry in read])
    ones = jnp.ones(vectors.shape[:2])
    none = jnp.zeros(len(names), bool)
    seen = task_vectors.similarities(ones[0], vectors[0], ones, vectors, none)
    return np.asarray(seen.gram)


def convert_backbone(
    source: load.Source, format: str, out: pathlib.Path, dtype: str, step: int
) -> None:
    """Writes a T5 and its vocabulary into a new folder, as "t5x" or "hugging_face"."""
    config = source.config
    if not isinstance(config, t5.T5Config):
        raise InputError("only a T5 can be written; a Llama is read, not written")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty, and nothing is overwritten")
    params = source.checkpoint.params(dtype)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    if format == "t5x":
        t5x.write(temporary, config, params, step)
    else:
        hugging_face.write_t5(temporary, config, params)
    source.copy_vocabulary(temporary)
    temporary.rename(out)


def _check_fit(
    what: str,
    rows: np.ndarray,
    source: load.Source,
    decoder_only: bool | None = None,
) -> None:
    width = source.checkpoint.tensors[EMBEDDING].shape[1]
    own = backbone.architecture(source.config).decoder_only
    if rows.shape[1] != width:
        raise InputError(
            f"{what} is of width {rows.shape[1]}, but the backbone {source.name} is of "
            f"width {width}"
        )
    if decoder_only not in (None, own):
        kinds = {True: "decoder-only backbone", False: "backbone with an encoder"}
        raise InputError(
            f"{what} is for a {kinds[not own]}, but {source.name} is a {kinds[own]}"
        )


# Shape and seed of a prompt -> its P_init, and where that is from, for messages.
Start = Callable[[tuple[int, int], int], tuple[np.ndarray, str]]


def _with_start(
    one: Import, prompt: prompt_files.Prompt, start: Start, say: Callable[[str], None]
) -> _Imported:
    """Finds the P_init of a prompt, and says what was found."""
    length, width = prompt.rows.shape
    p_init, origin = start((length, width), one.name.seed)
    if not np.isfinite(prompt.rows - p_init).all():
        raise InputError(
            f"{one.path}: its difference from P_init ({origin}) is not finite"
        )
    for note in prompt.notes:
        say(note)
    say(f"{one.name}: {[length, width]}, P_init {origin}")
    return _Imported(one, prompt.rows, p_init)


def _start_of(
    source: load.Source | None, dtype: str, path: pathlib.Path | None
) -> Start:
    """Chooses where P_init comes from: a file, the backbone, or nowhere (zeros)."""
    if path is not None:
        return functools.partial(_given_start, path, prompt_files.read(path).rows)
    if source is None:
        zero = "unknown without a backbone, taken as zero"
        return lambda shape, seed: (np.zeros(shape, np.float32), zero)
    opened = source.checkpoint
    only = opened._replace(tensors={EMBEDDING: opened.tensors[EMBEDDING]})
    embedding = only.params(dtype)["token_embedder"]["embedding"]
    return lambda shape, seed: (
        initial_prompt.p_init(embedding, shape[0], seed),
        f"of the backbone by seed {seed}",
    )


def _given_start(
    path: pathlib.Path, given: np.ndarray, shape: tuple[int, int], seed: int
) -> tuple[np.ndarray, str]:
    del seed
    if given.shape != shape:
        raise InputError(f"{path} is {list(given.shape)}, but the prompt {list(shape)}")
    return given, f"of {path}"


def _about_backbone(source: load.Source | None) -> Metadata:
    """Starts the metadata of an imported prompt with what is known of its backbone."""
    unnamed = Metadata(task="", method="", seed=0)
    if source is None:
        return unnamed
    return dataclasses.replace(
        unnamed,
        backbone=source.name,
        backbone_digest=source.checkpoint.digest(),
        backbone_config=backbone.described(source.config),
        vocabulary_digest=source.vocabulary().digest,
    )

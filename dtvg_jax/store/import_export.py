"""Learned prompts of a store to and from the formats of other programs."""

import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dtvg_jax import files, task_vectors
from dtvg_jax.errors import InputError
from dtvg_jax.formats import hugging_face, load, prompt_files, t5x
from dtvg_jax.methods import initial_prompt
from dtvg_jax.models import backbone, t5
from dtvg_jax.store import prompt_store

FORMATS = ("peft", "npy", "prompt_tuning")
BACKBONE_FORMATS = ("t5x", "hugging_face")
# An exported prompt keeps the name of its entry: <task>/<method>-seed<n>.
EXPORTED = re.compile(r"(?P<method>.+)-seed(?P<seed>\d+)$")
TASK = re.compile(r"[\w.+-]*\w[\w.+-]*")
EMBEDDING = "token_embedder/embedding"


def export_prompts(
    prompt_store: prompt_store.PromptStore,
    names: Sequence[str],
    format: str,
    out: pathlib.Path,
    source: load.Source | None = None,
    base_model: str | None = None,
) -> list[pathlib.Path]:
    """Writes entries of a store to `out`, under their names; all of them or none.

    `source` is the backbone that they are for, needed but for "npy"; `base_model` is
    what a PEFT adapter says to load, the backbone's folder if None.  Raises InputError
    for an entry that is of another backbone, and where a file would be overwritten.
    """
    if source is None and format != "npy":
        raise InputError(
            f"the format {format} says what model a prompt is for: name the backbone."
        )
    if not names:
        raise InputError(f"{prompt_store.folder} has no prompts to export.")
    digest = source.checkpoint.digest() if source else None
    made: dict[pathlib.Path, bytes] = {}
    for name in names:
        entry = prompt_store.read(name)
        rows, passport = entry.arrays["prompt"], entry.passport
        if source is not None:
            _check_fit(name, rows, source)
            # An imported prompt may not know its backbone.
            if passport.get("backbone_digest") is not None:
                prompt_store.read(name, backbone_digest=digest)
        if source is None or format == "npy":
            parts = prompt_files.npy(rows)
        elif format == "peft":
            model = base_model or str(source.folder)
            parts = prompt_files.peft(rows, source.checkpoint.config, model)
        else:
            decoder_only = backbone.architecture(source.config).decoder_only
            step = passport.get("step") or 0
            parts = prompt_files.prompt_tuning(
                rows, decoder_only=decoder_only, step=step
            )
        made |= {out / f"{name}{suffix}": content for suffix, content in parts.items()}
    if there := sorted(str(path) for path in made if path.exists()):
        raise InputError(
            f"{there[0]} is there already, and nothing is overwritten: remove it or "
            "write to another folder."
        )
    for path, content in made.items():
        files.write_bytes(path, content)
    return list(made)


class Import(NamedTuple):
    """A prompt on its way into a store: task, method and seed name its entry."""

    task: str
    method: str
    seed: int
    path: pathlib.Path

    @property
    def entry(self) -> str:
        return f"{self.task}/{self.method}-seed{self.seed}"


def parse_import(given: str, method: str, seed: int) -> Import:
    """Reads "TASK=PATH", or a PATH that names the task, or the path of an export."""
    task, sign, rest = given.partition("=")
    path = pathlib.Path(rest if sign else given)
    if not sign:
        task = path.stem if path.suffix == ".npy" else path.name
        if (named := EXPORTED.match(task)) is not None:
            task, method = path.absolute().parent.name, named["method"]
            seed = int(named["seed"])
    if not TASK.fullmatch(task) or task.endswith(prompt_files.PROMPT):
        raise InputError(f"{given!r}: name the task of this prompt, as TASK=PATH.")
    return Import(task, method, seed, path)


def import_prompts(
    prompt_store: prompt_store.PromptStore,
    wanted: Sequence[Import],
    source: load.Source | None = None,
    dtype: str = "float32",
    p_init: pathlib.Path | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Puts prompts of foreign formats into a store, each with a passport.

    A prompt's vector is taken from `p_init`, a prompt file, else from the P_init that a
    job draws from the backbone by the prompt's seed, else, with no backbone, from zero;
    `say` is told.  Raises InputError for a prompt that does not fit the backbone.
    """
    if len({one.entry for one in wanted}) < len(wanted):
        raise InputError("two of the prompts have the same name; give TASK=PATH.")
    read = [prompt_files.read(one.path) for one in wanted]
    for one, prompt in zip(wanted, read, strict=True):
        if source is not None:
            _check_fit(str(one.path), prompt.rows, source, prompt.decoder_only)
    start = _start_of(source, dtype, p_init)
    fits = _backbone_fields(source)
    made = []
    for one, prompt in zip(wanted, read, strict=True):
        first, said = start(prompt.rows.shape, one.seed)
        arrays = {"prompt": prompt.rows, "tpv": prompt.rows - first}
        made.append((one, arrays, first))
        for note in prompt.notes:
            say(note)
        say(f"{one.entry}: {list(prompt.rows.shape)}, P_init {said}")
    for one, arrays, first in made:
        digest = prompt_store.write_p_init(first)
        passport = _passport(one) | fits | {"p_init_digest": digest}
        passport |= dict(zip(("prompt_length", "width"), first.shape, strict=True))
        prompt_store.write(one.entry, arrays, passport)


def similarities(
    prompt_store: prompt_store.PromptStore, names: Sequence[str]
) -> Float[np.ndarray, "S S"]:
    """Multiplies the task prompt vectors of entries, two by two, in the paper's way.

    Raises InputError where they start from different P_init.
    """
    entries = [prompt_store.read(name) for name in names]
    starts = {entry.passport.get("p_init_digest") for entry in entries}
    if len(starts) != 1:
        raise InputError(
            f"the {len(names)} entries of {prompt_store.folder} start from "
            f"{len(starts)} different P_init; vectors of one start are compared: name "
            "such entries."
        )
    vectors = jnp.stack([entry.arrays["tpv"] for entry in entries])
    ones = jnp.ones(vectors.shape[:2])
    none = jnp.zeros(len(names), bool)
    seen = task_vectors.similarities(ones[0], vectors[0], ones, vectors, none)
    return np.asarray(seen.gram)


def convert_backbone(
    source: load.Source, format: str, out: pathlib.Path, dtype: str, step: int
) -> None:
    """Writes a T5 and its vocabulary into a new folder, as "t5x" or "hugging_face"."""
    config = source.checkpoint.config
    if not isinstance(config, t5.T5Config):
        raise InputError("only a T5 can be written; a Llama is read, not written.")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty, and nothing is overwritten.")
    params = source.checkpoint.params(dtype)
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    if format == "t5x":
        t5x.write(beside, config, params, step)
    else:
        hugging_face.write_t5(beside, config, params)
    source.copy_vocabulary(beside)
    beside.rename(out)


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
            f"width {width}."
        )
    if decoder_only not in (None, own):
        kinds = {True: "decoder-only backbone", False: "backbone with an encoder"}
        raise InputError(
            f"{what} is for a {kinds[not own]}, but {source.name} is a {kinds[own]}."
        )


def _start_of(
    source: load.Source | None, dtype: str, path: pathlib.Path | None
) -> Callable[[tuple[int, ...], int], tuple[np.ndarray, str]]:
    """Gives a function of (shape, seed) to P_init and a word on where it is from."""
    if path is not None:
        given = prompt_files.read(path).rows

        def start(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, str]:
            del seed
            if given.shape != shape:
                raise InputError(
                    f"{path} is {list(given.shape)}, but the prompt {list(shape)}."
                )
            return given, f"of {path}"

        return start
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


def _backbone_fields(source: load.Source | None) -> dict[str, Any]:
    if source is None:
        fields = ("backbone", "backbone_digest", "vocabulary_digest")
        return dict.fromkeys(fields)
    return {
        "backbone": source.name,
        "backbone_digest": source.checkpoint.digest(),
        "vocabulary_digest": source.vocabulary().digest,
    }


def _passport(one: Import) -> dict[str, Any]:
    """Gives the fields of a job's passport, as far as a foreign file says them."""
    unknown = (
        "stage step failed sources label_style split_digests config_digest".split()
    )
    return dict.fromkeys(unknown) | {
        "task": one.task,
        "method": one.method,
        "seed": one.seed,
        "metrics": {},
        "imported_from": one.path.name,
    }

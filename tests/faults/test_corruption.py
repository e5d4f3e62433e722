"""A damaged file of every kind that is read back is noticed or harmless."""

import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import NamedTuple

import golden_backbones
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_job
import tokenizers
from absl import flags
from damage import trials

import gin
from dtvg_jax import report
from dtvg_jax.cli import gin_settings
from dtvg_jax.errors import InputError
from dtvg_jax.formats import prompt_files
from dtvg_jax.formats.load import load_backbone, open_source
from dtvg_jax.formats.vocabularies import load_vocabulary
from dtvg_jax.jobs import job_folder, measurements, plan, token_tables
from dtvg_jax.jobs.job import Job
from dtvg_jax.report import figures
from dtvg_jax.store.entries import Fit
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training import checkpoints
from dtvg_jax.training.loop import Progress, Validated
from dtvg_jax.training.metrics_log import MetricsLog, read


class Case(NamedTuple):
    """A file, what reads it, and another of its kind.

    Bits are flipped in the first `extent` bytes only, where what follows is values of
    another program's file, which has no digest of them.
    """

    file: pathlib.Path
    act: Callable[[], object]
    other: pathlib.Path | None = None
    extent: int | None = None


Make = Callable[[pathlib.Path, pathlib.Path, pathlib.Path], Case]  # job, cache, tmp


def _facts(job_dir: pathlib.Path) -> dict[str, object]:
    said = json.loads((job_dir / "plan.json").read_text())["settings"]
    names = ("backbone_digest", "vocabulary_digest", "taken")
    return {name: said[name] for name in names}


def _plan(job_dir, cache, tmp):
    now = job_folder.planned(tiny_job.make(cache), (), _facts(job_dir))
    splits = json.loads((job_dir / "plan.json").read_text())["splits"]

    def act():
        job_folder.check_plan(job_dir, now)
        job_folder.check_splits(job_dir, splits)

    other = tmp / "plan.json"
    settings = now["settings"] | {"seeds": [1]}
    other.write_text(json.dumps(now | {"settings": settings, "splits": splits}))
    return Case(job_dir / "plan.json", act, other)


def _measured(part, cls, job_dir, cache, tmp):
    prompts = json.loads((job_dir / f"measured/{part}.json").read_text())["prompts"]

    def act():
        found = measurements.read(job_dir, part, cls, prompts)
        if found is None:  # said, and measured again
            raise InputError("measured again")
        return found

    other = "stage1" if part == "sources" else "sources"
    folder = job_dir / "measured"
    return Case(folder / f"{part}.json", act, folder / f"{other}.json")


def _results(job_dir, cache, tmp):
    other = tmp / "results.json"
    made = report.read(job_dir / "results.json")
    report.save(tmp, made.__class__(**{**vars(made), "log_digest": "0" * 64}))
    path = job_dir / "results.json"
    return Case(path, lambda: _reported(job_dir), other)


def _reported(job_dir):
    return report.to_json(report.write(job_dir))


def _log(file, job_dir, cache, tmp):
    shutil.copytree(job_dir, tmp / "job", dirs_exist_ok=True)
    with MetricsLog(tmp) as log:
        log.position()

    def act():
        MetricsLog(tmp / "job").close()
        return read(tmp / "job" / "metrics.jsonl"), _reported(tmp / "job")

    return Case(tmp / "job" / file, act, tmp / file)


def _stored(file, job_dir, cache, tmp):
    store, name = PromptStore(job_dir / "store"), "mrpc/stage1-seed0"
    said = store.read(name).metadata
    fit = Fit(
        said.backbone_digest, said.vocabulary_digest, 4, said.width, said.p_init_digest
    )

    def act():
        entry = store.read(name, fit)
        return dict(entry.arrays), entry.metadata

    folder = job_dir / "store"
    other = folder / "sst2/stage1-seed0" / file
    return Case(folder / name / file, act, other)


def _p_init(job_dir, cache, tmp):
    [path] = (job_dir / "store/p_init").iterdir()
    other = PromptStore(tmp).write_p_init(np.ones((4, 3), np.float32))
    store = PromptStore(job_dir / "store")
    return Case(
        path,
        lambda: store.read_p_init(path.stem),
        tmp / "p_init" / f"{other}.safetensors",
    )


def _checkpoint(pick, job_dir, cache, tmp):
    def state(step):
        values = np.random.default_rng(step).normal(size=(2, 64, 8))
        return {"prompt": jnp.asarray(values), "step": jnp.asarray(step)}

    def at(step):
        validated = Validated(step, (True,), ({"mean": 2.5},), (None,))
        return Progress(10 * step, validated, 1.5)

    for step in (3, 6):
        with checkpoints.manager(tmp / "clean") as manager:
            said = dataclasses.asdict(at(step))
            checkpoints.save(manager, step, state(step), said)
    like = jax.tree.map(jnp.zeros_like, state(0))

    def act():
        # Restoring may remove what is damaged, so it is done in a copy.
        shutil.rmtree(tmp / "copy", ignore_errors=True)
        shutil.copytree(tmp / "clean", tmp / "copy")
        with checkpoints.manager(tmp / "copy") as manager:
            found = checkpoints.restore(manager, like, Progress)
        assert found is not None
        arrays, progress = jax.device_get(found[0]), found[1]
        before = jax.device_get(state(3)), at(3)
        if progress == before[1] and (arrays["prompt"] == before[0]["prompt"]).all():
            raise InputError("going back to step 3")
        return arrays, progress

    path, other = (
        max((tmp / "clean" / step).glob(pick), key=lambda path: path.stat().st_size)
        for step in ("6", "3")
    )
    return Case(path, act, other)


def _table(file, job_dir, cache, tmp):
    """Tables of this job alone, in a cache with the generated data of the others'."""
    for path in cache.glob("miniature-*"):
        (tmp / path.name).symlink_to(path)
    job, vocabulary = tiny_job.make(tmp), open_source("miniature").vocabulary()
    real = token_tables.open_tables(tiny_job.make(cache), vocabulary, lambda: None)
    for table in real.values():
        folder = tmp / "token_tables" / table.folder.name
        shutil.copytree(table.folder, folder, dirs_exist_ok=True)

    def act():
        tables = token_tables.open_tables(job, vocabulary, lambda: None)
        return [
            [np.array(getattr(table, name)) for name in ("inputs", "input_offsets")]
            + [np.array(getattr(table, name)) for name in ("targets",)]
            + [table.golds, table.metadata]
            for table in tables.values()
        ]

    places = [tmp / "token_tables" / t.folder.name for t in list(real.values())[:2]]
    return Case(places[0] / file, act, places[1] / file)


def _backbone(file, job_dir, cache, tmp):
    """A changed backbone is another one: the prompts of the job refuse it."""
    clean = open_source("miniature").folder
    shutil.copytree(clean, tmp / "backbone")
    store = PromptStore(job_dir / "store")

    def act():
        loaded = load_backbone(str(tmp / "backbone"))
        fit = Fit(loaded.digest, loaded.vocabulary.digest)
        store.read("mrpc/stage1-seed0", fit)
        words = loaded.vocabulary.encode(["the meal was good", "x < y"])
        return loaded.config, words, jax.device_get(jax.tree.leaves(loaded.params))

    other = golden_backbones.GOLDEN / "t5_v1_1" / file
    return Case(tmp / "backbone" / file, act, other if other.exists() else None)


def _tokenizer_json(job_dir, cache, tmp):
    """A changed vocabulary is another one: its digest says so to every entry."""
    for folder, words in ((tmp, ["good", "film"]), (tmp / "other", ["film", "good"])):
        folder.mkdir(exist_ok=True)
        ids = {word: i for i, word in enumerate(["<unk>", "</s>", *words])}
        made = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, "<unk>"))
        made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        made.add_special_tokens(["</s>"])
        made.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    first = load_vocabulary(tmp, decoder_only=True, rows=64).digest

    def act():
        vocabulary = load_vocabulary(tmp, decoder_only=True, rows=64)
        if vocabulary.digest != first:
            raise InputError("another vocabulary than that of the stored prompts")
        return vocabulary.size, vocabulary.eos_id, vocabulary.encode(["a good film"])

    return Case(tmp / "tokenizer.json", act, tmp / "other" / "tokenizer.json")


def _adapter(file, job_dir, cache, tmp):
    shutil.copytree(golden_backbones.GOLDEN / "peft" / "t5", tmp / "adapter")
    path = tmp / "adapter" / file
    # The values of a safetensors file follow its header, whose size comes first.
    size = int.from_bytes(path.read_bytes()[:8], "little") + 8
    extent = size if path.suffix == ".safetensors" else None
    return Case(path, lambda: prompt_files.read(tmp / "adapter"), None, extent)


def _gin(job_dir, cache, tmp):
    path, other = tmp / "job.gin", tmp / "other.gin"
    path.write_text(tiny_job.GIN)
    other.write_text(tiny_job.GIN.replace("steps = 6", "steps = 7"))

    def act():
        gin.clear_config()
        known = flags.FlagValues()
        given = gin_settings.define_flags(known)
        known(["train", f"--gin_file={path}"])
        job = gin_settings.configure(Job, given)
        # Other settings than those of the plan are noticed by the job's folder.
        job_folder.check_plan(job_dir, job_folder.planned(job, (), _facts(job_dir)))
        return plan.settings(job)

    return Case(path, act, other)


KINDS: dict[str, Make] = {
    "plan.json": _plan,
    "measured: prompts": functools.partial(_measured, "stage1", measurements.Tested),
    "measured: sources": functools.partial(_measured, "sources", measurements.Compared),
    "results.json": _results,
    "metrics.jsonl": functools.partial(_log, "metrics.jsonl"),
    "metrics.seal.json": functools.partial(_log, "metrics.seal.json"),
    "store: entry.json": functools.partial(_stored, "entry.json"),
    "store: prompt.safetensors": functools.partial(_stored, "prompt.safetensors"),
    "store: p_init": _p_init,
    "checkpoint: data": functools.partial(_checkpoint, "state/*/d/*"),
    "checkpoint: index": functools.partial(_checkpoint, "state/d/*"),
    "checkpoint: manifest": functools.partial(_checkpoint, "state/manifest.ocdbt"),
    "checkpoint: arrays": functools.partial(_checkpoint, "state/_METADATA"),
    "checkpoint: devices": functools.partial(_checkpoint, "state/_sharding"),
    "checkpoint: items": functools.partial(_checkpoint, "_CHECKPOINT_METADATA"),
    "checkpoint: progress": functools.partial(_checkpoint, "progress/metadata"),
    "checkpoint: digest": functools.partial(_checkpoint, "digest/metadata"),
    "token table: meta.json": functools.partial(_table, "meta.json"),
    "token table: arrays": functools.partial(_table, "inputs.npy"),
    "token table: offsets": functools.partial(_table, "input_offsets.npy"),
    "token table: golds": functools.partial(_table, "golds.jsonl"),
    "backbone: config.json": functools.partial(_backbone, "config.json"),
    "backbone: safetensors": functools.partial(_backbone, "model.safetensors"),
    "backbone: spiece.model": functools.partial(_backbone, "spiece.model"),
    "backbone: tokenizer_config": functools.partial(_backbone, "tokenizer_config.json"),
    "backbone: tokenizer.json": _tokenizer_json,
    "adapter: config": functools.partial(_adapter, prompt_files.PEFT_CONFIG),
    "adapter: header": functools.partial(_adapter, prompt_files.PEFT_WEIGHTS),
    "gin file": _gin,
}
# Those that are read in milliseconds have two flips in the fast set.
LONG = ("checkpoint", "backbone", "token table")
FAST = [kind for kind in KINDS if kind.split(":")[0] not in LONG]


@pytest.mark.parametrize(
    ("kind", "flips"),
    [(kind, 2) for kind in FAST]
    + [pytest.param(kind, 20, marks=pytest.mark.slow) for kind in KINDS],
)
def test_a_damaged_file(finished, cache, tmp_path, judge, monkeypatch, kind, flips):
    # Plots hold no number that is not in results.json.
    monkeypatch.setattr(figures, "draw", lambda *_: [])
    case = KINDS[kind](finished, cache, tmp_path)
    judge(kind, trials(case.file, case.act, flips, case.other, case.extent))

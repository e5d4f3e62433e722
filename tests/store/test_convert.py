"""Prompts and backbones out to other programs' formats, and in from them."""

import functools
import io
import json
import os
import pathlib
import pickle
import shutil

import golden_backbones as golden
import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

from dtvg_jax.cli.commands import convert
from dtvg_jax.errors import InputError
from dtvg_jax.formats import hugging_face, load, prompt_files
from dtvg_jax.methods import initial_prompt
from dtvg_jax.models import backbone, t5
from dtvg_jax.store import entries, import_export, prompt_store
from dtvg_jax.store.entries import Fit, Metadata

PEFT = golden.GOLDEN / "peft"
ENTRY = "dtvg_sst2/dtvg-seed3"


@functools.cache
def _miniature() -> load.Source:
    return load.open_source("miniature")


def _store(
    folder: pathlib.Path, prompt: np.ndarray, digest: str, *names: str
) -> prompt_store.PromptStore:
    made = prompt_store.PromptStore(folder / "store")
    for name in names or (ENTRY,):
        about = Metadata(*entries.parse(name), backbone_digest=digest, step=40)
        made.write({"prompt": prompt}, about)
    return made


def _prompt(width: int = 96, rows: int = 7) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    # Values that a detour over text or another dtype would change.
    drawn[0, :5] = [
        -0.0,
        1e-42,
        3.4e38,
        1 / 3,
        np.nextafter(np.float32(1), np.float32(2)),
    ]
    return drawn


def _code(arguments: list[str]) -> object:
    """Runs the command, and gives its exit code."""
    with pytest.raises(SystemExit) as end:
        convert.run(["convert", *arguments])
    return end.value.code


def _run(*arguments: object) -> None:
    assert _code([str(a) for a in arguments]) == 0


@pytest.mark.parametrize(
    ("adapter", "name"), [("t5", "t5_v1_1"), ("llama", "llama_3_tied")]
)
def test_an_exported_adapter_is_what_peft_writes(
    adapter: str, name: str, tmp_path: pathlib.Path
) -> None:
    b = golden.load(name)
    kept = _store(tmp_path, golden.values(name)["prompt"], b.digest)
    where = ("--backbone", golden.GOLDEN / name, "--base_model", name)
    out = tmp_path / "out"
    _run("export", "--store", kept.folder, "--format", "peft", "--out", out, *where)
    files = sorted(path.name for path in (out / ENTRY).iterdir())
    assert files == sorted(path.name for path in (PEFT / adapter).iterdir())
    for file in files:
        assert (out / ENTRY / file).read_bytes() == (PEFT / adapter / file).read_bytes()


def test_an_adapter_names_its_backbone_by_default(tmp_path: pathlib.Path) -> None:
    kept = _store(tmp_path, _prompt(), _miniature().checkpoint.digest())
    to = import_export.Target(tmp_path / "out", "peft", _miniature())
    import_export.export_prompts(kept, [ENTRY], to)
    said = json.loads((tmp_path / "out" / ENTRY / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == str(load.EMBEDDED / "miniature")


def test_an_adapter_of_peft_is_read(tmp_path: pathlib.Path) -> None:
    for adapter, name in (("t5", "t5_v1_1"), ("llama", "llama_3_tied")):
        got = prompt_files.read(PEFT / adapter)
        np.testing.assert_array_equal(got.rows, golden.values(name)["prompt"])
        assert (got.decoder_only, got.notes) == (adapter == "llama", ())


def test_doubled_rows_are_halved_and_said(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    _run("import", "--store", tmp_path, PEFT / "t5_doubled")
    assert "has 2 x 5 rows, as PEFT makes for a T5" in capsys.readouterr().out
    entry = prompt_store.PromptStore(tmp_path).read("t5_doubled/imported-seed0")
    want = golden.values("t5_v1_1")["prompt"]
    np.testing.assert_array_equal(entry.arrays["prompt"], want)


@pytest.mark.parametrize("format", import_export.FORMATS)
def test_export_then_import_is_the_identity(
    format: str, tmp_path: pathlib.Path
) -> None:
    names = [f"{task}/dtvg-seed{seed}" for task in ("dtvg_a", "b") for seed in (0, 11)]
    kept = _store(tmp_path, _prompt(), _miniature().checkpoint.digest(), *names)
    out = tmp_path / "out"
    to = ("--format", format, "--out", out, "--backbone", "miniature")
    _run("export", "--store", kept.folder, *to)
    suffix = ".npy" if format == "npy" else ""
    paths = [out / f"{name}{suffix}" for name in names]
    _run("import", "--store", tmp_path / "again", "--backbone", "miniature", *paths)
    again = prompt_store.PromptStore(tmp_path / "again")
    assert again.names() == sorted(names)
    for name in names:
        made, first = (
            again.read(name).arrays["prompt"],
            kept.read(name).arrays["prompt"],
        )
        assert made.tobytes() == first.tobytes() and made.dtype == first.dtype


def test_an_imported_entry_fits_the_jobs_of_its_backbone(
    tmp_path: pathlib.Path,
) -> None:
    np.save(tmp_path / "rte.npy", _prompt())
    where = ("--backbone", "miniature", "--seed", 5, "--method", "peft")
    _run("import", "--store", tmp_path / "s", *where, tmp_path / "rte.npy")
    b = load.load_backbone("miniature")
    p_init = initial_prompt.p_init(b.embedding(b.params), 7, 5)
    kept = prompt_store.PromptStore(tmp_path / "s")
    fit = Fit(b.digest, b.vocabulary.digest, 7, 96, prompt_store.digest(p_init))
    entry = kept.read("rte/peft-seed5", fit)
    assert entry.metadata.backbone == "miniature"
    assert entry.metadata.imported_from == "rte.npy"
    np.testing.assert_array_equal(entry.arrays["tpv"], _prompt() - p_init)
    np.testing.assert_array_equal(kept.read_p_init(prompt_store.digest(p_init)), p_init)


def test_the_start_may_be_a_file(tmp_path: pathlib.Path) -> None:
    start = np.full((7, 96), 0.25, np.float32)
    np.save(tmp_path / "start.npy", start)
    np.save(tmp_path / "x.npy", _prompt())
    named = f"sst2={tmp_path / 'x.npy'}"
    _run("import", "--store", tmp_path, "--p_init", tmp_path / "start.npy", named)
    entry = prompt_store.PromptStore(tmp_path).read("sst2/imported-seed0")
    np.testing.assert_array_equal(entry.arrays["tpv"], _prompt() - start)
    assert entry.metadata.p_init_digest == prompt_store.digest(start)


def test_published_prompts_go_in_and_out(
    shared: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    tasks = ("mrpc", "rte", "sst2")
    paths = [shared / "real" / "t5" / "prompts" / f"{task}.npy" for task in tasks]
    arrays = [np.load(path) for path in paths]
    kept = tmp_path / "store"
    _run("import", "--store", kept, *paths)
    assert "rte/imported-seed0: [100, 768], P_init unknown" in capsys.readouterr().out
    _run("similarities", "--store", kept)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in printed] == [f"{task}/imported-seed0" for task in tasks]
    means = np.stack([array.mean(axis=0, dtype=np.float64) for array in arrays])
    got = np.array([row[1:] for row in printed], float)
    np.testing.assert_allclose(got, means @ means.T, rtol=2e-3)

    # A backbone of that width, which is all that an adapter says of one.
    config = t5.T5Config(64, 768, 4, 2, 8, 1, 1)
    params = backbone.init_params(config, jax.random.key(0))
    hugging_face.write_t5(tmp_path / "wide", config, params)
    for format in ("peft", "npy"):
        to = ("--format", format, "--backbone", tmp_path / "wide", "--out", tmp_path)
        _run("export", "--store", kept, *to)
    for task, array in zip(tasks, arrays, strict=True):
        for made in ("imported-seed0", "imported-seed0.npy"):
            got = prompt_files.read(tmp_path / task / made).rows
            np.testing.assert_array_equal(got, array)


def test_the_file_of_prompt_tuning(tmp_path: pathlib.Path) -> None:
    digest = _miniature().checkpoint.digest()
    kept = _store(tmp_path, _prompt(), digest)
    to = import_export.Target(tmp_path / "out", "prompt_tuning", _miniature())
    made = import_export.export_prompts(kept, [ENTRY], to)
    name = "numpy_checkpoints/checkpoint_40/encoder.prompt.prompt.prompt"
    assert made == [tmp_path / "out" / ENTRY / name]
    with made[0].open("rb") as file:
        np.testing.assert_array_equal(np.load(file), _prompt())
    # A run's folder, one of its steps, the file: the newest where there are several.
    older = made[0].parents[1] / "checkpoint_9"
    older.mkdir()
    np.save(older / "x.npy", np.ones((2, 3), np.float32))
    (older / "x.npy").rename(older / made[0].name)
    for path in (made[0].parents[2], made[0].parents[1], made[0].parent, made[0]):
        got = prompt_files.read(path)
        np.testing.assert_array_equal(got.rows, _prompt())
        assert got.decoder_only is False
    assert prompt_files.read(older).rows.shape == (2, 3)
    llama = prompt_files.prompt_tuning(_prompt(), decoder_only=True, step=0)
    assert list(llama) == [
        "/numpy_checkpoints/checkpoint_0/decoder.prompt.prompt.prompt"
    ]


def test_half_precision_is_widened(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "a.npy", np.float16([[0.1, 2]]))
    got = prompt_files.read(tmp_path / "a.npy").rows
    assert got.dtype == np.float32 and got[0, 0] == np.float32(np.float16(0.1))


class _Trap:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_pickles_are_refused_and_not_run(tmp_path: pathlib.Path) -> None:
    trap = _Trap(str(tmp_path / "executed"))
    np.save(tmp_path / "a.npy", np.array([trap], object), allow_pickle=True)
    (tmp_path / "b.pt").write_bytes(pickle.dumps(trap))
    folder = tmp_path / "adapter"
    shutil.copytree(PEFT / "t5", folder)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(trap))
    for path in (tmp_path / "a.npy", tmp_path / "b.pt", folder):
        with pytest.raises(InputError, match="is a pickle, which can run code"):
            prompt_files.read(path)
    assert not (tmp_path / "executed").exists()


def _adapter(folder: pathlib.Path, tensor: np.ndarray | None = None, **said) -> None:
    shutil.copytree(PEFT / "t5", folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    if tensor is not None:
        file = folder / "adapter_model.safetensors"
        safetensors.save_file({"prompt_embeddings": tensor}, file)


def _cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    said = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, said)
    return file.getvalue()


BAD_PROMPTS = {
    "nothing": (lambda p: None, "is not there"),
    "empty folder": (lambda p: p.mkdir(), "holds no prompt: neither adapter_config"),
    "text": (lambda p: p.write_text("hello"), "not a whole NumPy file"),
    "cut": (lambda p: (np.save(p.open("wb"), np.ones((2, 3), "f4")), _cut(p)), "whole"),
    "integers": (lambda p: np.save(p.open("wb"), np.ones((2, 3), int)), "int64 .2, 3."),
    "wide": (lambda p: np.save(p.open("wb"), np.ones((2, 3))), "holds float64"),
    "flat": (lambda p: np.save(p.open("wb"), np.ones(3, "f4")), "a prompt is .P, H."),
    "empty": (lambda p: np.save(p.open("wb"), np.ones((0, 3), "f4")), "float32 .0, 3."),
    "nan": (
        lambda p: np.save(p.open("wb"), np.full((2, 3), np.nan, "f4")),
        "not finite",
    ),
    "LoRA": (lambda p: _adapter(p, peft_type="LORA"), "peft_type is 'LORA'"),
    "a head": (
        lambda p: _adapter(p, task_type="SEQ_CLS", modules_to_save=["score"]),
        "task_type is 'SEQ_CLS'; an adapter with a head of its own is not read",
    ),
    "other modules": (
        lambda p: _adapter(p, modules_to_save=["shared"]),
        "modules_to_save is .'shared'.; a prompt alone is read",
    ),
    "other tensors": (
        lambda p: (
            _adapter(p),
            safetensors.save_file(
                {"prompt_embeddings": np.ones((5, 16), "f4"), "score": np.ones(2)},
                p / "adapter_model.safetensors",
            ),
        ),
        "holds score beside prompt_embeddings; a prompt alone is read",
    ),
    "by name": (
        lambda p: (p.mkdir(), _adapter(p / "mine")),
        "holds an adapter by name: give its own folder, .*bad/mine",
    ),
    "pipe": (os.mkfifo, "is a pipe, socket or device"),
    "many rows": (
        lambda p: p.write_bytes(
            _header((10**9, 1000)) + np.ones((2, 3), "f4").tobytes()
        ),
        "not a whole NumPy file: mmap length",
    ),
    "other rows": (
        lambda p: _adapter(p, np.ones((7, 16), np.float32)),
        r"prompt_embeddings is \[7, 16\], but .* num_virtual_tokens 5 and token_dim 16",
    ),
    "other width": (lambda p: _adapter(p, token_dim=8), "and token_dim 8"),
    "cut adapter": (
        lambda p: (_adapter(p), _cut(p / "adapter_model.safetensors")),
        "not a whole safetensors file",
    ),
    "no weights": (
        lambda p: (_adapter(p), (p / "adapter_model.safetensors").unlink()),
        "adapter_model.safetensors is missing",
    ),
    "bad json": (
        lambda p: (_adapter(p), (p / "adapter_config.json").write_text("{")),
        "adapter_config.json is not JSON",
    ),
}


@pytest.mark.parametrize("what", BAD_PROMPTS)
def test_bad_prompts_are_refused_before_anything_is_written(
    what: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    make, sentence = BAD_PROMPTS[what]
    make(tmp_path / "bad")
    np.save(tmp_path / "good.npy", np.ones((2, 3), np.float32))
    given = [str(tmp_path / "good.npy"), str(tmp_path / "bad")]
    assert _code(["import", "--store", str(tmp_path / "s"), *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    with pytest.raises(InputError, match=sentence):
        prompt_files.read(tmp_path / "bad")
    assert not (tmp_path / "s").exists()


# Arguments after "--store STORE", where {out} is a new folder, and the sentence.
REFUSED = [
    ("export --format peft --out {out}", "name the backbone"),
    ("export --format npy --out {out} a/b-seed1", "no entry 'a/b-seed1'"),
    ("export --format npy --out {used}", "is there already, and nothing is"),
    ("export --format peft --out {out} --backbone {t5}", "width 96, but the backbone"),
    ("export --format npy --out {out} --backbone {other}", "backbone_digest is"),
    ("export --format npy --out {out} --backbone nowhere", "'nowhere' is not there"),
    ("import {npy} x/y={npy}", "name the task of this prompt, as TASK=PATH"),
    ("import a={npy} a={npy}", "two of the prompts have the same name"),
    ("import {npy} --p_init {short}", "short.npy is [2, 96], but the prompt [7, 96]"),
    ("import a={peft} --backbone miniature", "width 16, but the backbone miniature"),
    (
        "import a={decoder} --backbone miniature",
        "is for a decoder-only backbone, but miniature",
    ),
    ("similarities", "start from 2 different P_init"),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED)
def test_what_does_not_fit_is_a_sentence_and_writes_nothing(
    line: str, sentence: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    kept = _store(tmp_path, _prompt(), _miniature().checkpoint.digest())
    for name, start in (("b/x-seed0", "1"), ("c/x-seed0", "2")):
        arrays = {"prompt": _prompt(), "tpv": _prompt()}
        kept.write(arrays, Metadata(*entries.parse(name), p_init_digest=start))
    np.save(tmp_path / "p.npy", _prompt())
    np.save(tmp_path / "short.npy", _prompt(rows=2))
    shutil.copy(tmp_path / "p.npy", tmp_path / "decoder.prompt.prompt.prompt")
    places = {
        "out": tmp_path / "out",
        "used": tmp_path / "used",
        "npy": tmp_path / "p.npy",
        "short": tmp_path / "short.npy",
        "decoder": tmp_path / "decoder.prompt.prompt.prompt",
        "peft": PEFT / "t5",
        "t5": golden.GOLDEN / "t5_v1_1",
        "other": tmp_path / "other",
    }
    (tmp_path / "used" / "b").mkdir(parents=True)
    (tmp_path / "used" / "b" / "x-seed0.npy").write_text("mine")
    shutil.copytree(load.EMBEDDED / "miniature", tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps(said | {"dropout_rate": 0.3}))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    command, *rest = [word.format(**places) for word in line.split()]
    if command == "similarities":
        rest = ["b/x-seed0", "c/x-seed0"]
    assert _code([command, "--store", str(kept.folder), *rest]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert after == before


def test_a_place_that_cannot_be_written_is_a_sentence(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    kept = _store(tmp_path, _prompt(), "")
    (tmp_path / "file").write_text("mine")
    given = ["--store", str(kept.folder), "--format", "npy"]
    assert _code(["export", *given, "--out", str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/file" in error and error.count("\n") == 1


@pytest.mark.parametrize("format", import_export.BACKBONE_FORMATS)
def test_a_backbone_is_written_with_its_vocabulary(
    format: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "model"
    where = ("--backbone", "miniature", "--out", out, "--format", format)
    _run("backbone", *where)
    first, again = load.load_backbone("miniature"), load.load_backbone(str(out))
    assert again.config == first.config
    assert again.vocabulary.digest == first.vocabulary.digest
    jax.tree.map(np.testing.assert_array_equal, again.params, first.params)
    assert _code([str(a) for a in ("backbone", *where)]) == 2
    assert "model is not empty" in capsys.readouterr().err


def test_a_llama_is_not_written(tmp_path: pathlib.Path) -> None:
    source = load.open_source(str(golden.GOLDEN / "llama_untied"))
    with pytest.raises(InputError, match="only a T5 can be written"):
        import_export.convert_backbone(source, "t5x", tmp_path / "x", "float32", 0)


def test_exported_paths_are_those_of_the_documentation(tmp_path: pathlib.Path) -> None:
    text = (golden.GOLDEN.parents[1] / "docs" / "interop.md").read_text()
    digest = _miniature().checkpoint.digest()
    kept = _store(tmp_path, _prompt(), digest, "rte/dtvg-seed0")
    for format in import_export.FORMATS:
        to = import_export.Target(tmp_path / format, format, _miniature())
        for path in import_export.export_prompts(kept, ["rte/dtvg-seed0"], to):
            folder, name = path.relative_to(tmp_path / format).parent, path.name
            said = str(folder).replace("checkpoint_40", "checkpoint_<step>")
            assert f"O/{said}/" in text and name in text

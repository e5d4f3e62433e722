"""Prompts that are not taken: pickles, damaged files, what does not fit."""

import io
import json
import os
import pathlib
import pickle
import shutil

import golden_backbones as golden
import numpy as np
import pytest
from safetensors import numpy as safetensors
from test_convert import PEFT, exit_code, miniature, new_prompt, new_store

from dtvg_jax.errors import InputError
from dtvg_jax.formats import load, prompt_files
from dtvg_jax.store import entries, import_export, prompt_store
from dtvg_jax.store.entries import Metadata


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
    assert exit_code(["import", "--store", str(tmp_path / "s"), *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    with pytest.raises(InputError, match=sentence):
        prompt_files.read(tmp_path / "bad")
    assert not (tmp_path / "s").exists()


# Arguments after "--store STORE", where {out} is a new folder, and the sentence.
REFUSED = [
    ("export --format peft --out {out}", "name the backbone"),
    ("export --format npy --out {out} a/b-seed1", "no entry 'a/b-seed1'"),
    ("export --format npy --out {used}", "already exists, and nothing is"),
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


@pytest.mark.parametrize("format", import_export.FORMATS)
def test_prompts_that_look_at_rows_are_not_exported(
    format: str, tmp_path: pathlib.Path
) -> None:
    kept = prompt_store.PromptStore(tmp_path / "store")
    digest = miniature().checkpoint.digest()
    for name in ("a/dtvg-seed0", "a/attempt-seed0"):
        arrays = {"prompt": np.ones((7, 96), np.float32)}
        if "attempt" in name:
            arrays["row.context.sources"] = np.ones((2, 7, 96), np.float32)
        kept.write(arrays, Metadata(*entries.parse(name), backbone_digest=digest))
    to = import_export.Target(tmp_path / "out", format, miniature())
    with pytest.raises(InputError, match="a/attempt-seed0 has a prompt of its own for"):
        import_export.export_prompts(kept, kept.names(), to)
    assert not (tmp_path / "out").exists()
    import_export.export_prompts(kept, ["a/dtvg-seed0"], to)


@pytest.mark.parametrize(("line", "sentence"), REFUSED)
def test_what_does_not_fit_is_a_sentence_and_writes_nothing(
    line: str, sentence: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    kept = new_store(tmp_path, new_prompt(), miniature().checkpoint.digest())
    for name, start in (("b/x-seed0", "1"), ("c/x-seed0", "2")):
        arrays = {"prompt": new_prompt(), "tpv": new_prompt()}
        kept.write(arrays, Metadata(*entries.parse(name), p_init_digest=start))
    np.save(tmp_path / "p.npy", new_prompt())
    np.save(tmp_path / "short.npy", new_prompt(rows=2))
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
    assert exit_code([command, "--store", str(kept.folder), *rest]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert after == before


def test_a_place_that_cannot_be_written_is_a_sentence(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    kept = new_store(tmp_path, new_prompt(), "")
    (tmp_path / "file").write_text("mine")
    given = ["--store", str(kept.folder), "--format", "npy"]
    assert exit_code(["export", *given, "--out", str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/file" in error and error.count("\n") == 1

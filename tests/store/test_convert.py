"""Prompts and backbones out to other programs' formats, and in from them."""

import functools
import json
import pathlib

import golden_backbones as golden
import jax
import numpy as np
import pytest

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
def miniature() -> load.Source:
    return load.open_source("miniature")


def new_store(
    folder: pathlib.Path, prompt: np.ndarray, digest: str, *names: str
) -> prompt_store.PromptStore:
    made = prompt_store.PromptStore(folder / "store")
    for name in names or (ENTRY,):
        about = Metadata(*entries.parse(name), backbone_digest=digest, step=40)
        made.write({"prompt": prompt}, about)
    return made


def new_prompt(width: int = 96, rows: int = 7) -> np.ndarray:
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


def exit_code(arguments: list[str]) -> object:
    """Runs the command, and gives its exit code."""
    with pytest.raises(SystemExit) as end:
        convert.run(["convert", *arguments])
    return end.value.code


def _run(*arguments: object) -> None:
    assert exit_code([str(a) for a in arguments]) == 0


@pytest.mark.parametrize(
    ("adapter", "name"), [("t5", "t5_v1_1"), ("llama", "llama_3_tied")]
)
def test_an_exported_adapter_is_what_peft_writes(
    adapter: str, name: str, tmp_path: pathlib.Path
) -> None:
    b = golden.load(name)
    kept = new_store(tmp_path, golden.values(name)["prompt"], b.digest)
    where = ("--backbone", golden.GOLDEN / name, "--base_model", name)
    out = tmp_path / "out"
    _run("export", "--store", kept.folder, "--format", "peft", "--out", out, *where)
    files = sorted(path.name for path in (out / ENTRY).iterdir())
    assert files == sorted(path.name for path in (PEFT / adapter).iterdir())
    for file in files:
        assert (out / ENTRY / file).read_bytes() == (PEFT / adapter / file).read_bytes()


def test_an_adapter_names_its_backbone_by_default(tmp_path: pathlib.Path) -> None:
    kept = new_store(tmp_path, new_prompt(), miniature().checkpoint.digest())
    to = import_export.Target(tmp_path / "out", "peft", miniature())
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
    kept = new_store(tmp_path, new_prompt(), miniature().checkpoint.digest(), *names)
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
    np.save(tmp_path / "rte.npy", new_prompt())
    where = ("--backbone", "miniature", "--seed", 5, "--method", "peft")
    _run("import", "--store", tmp_path / "s", *where, tmp_path / "rte.npy")
    b = load.load_backbone("miniature")
    p_init = initial_prompt.p_init(b.embedding(b.params), 7, 5)
    kept = prompt_store.PromptStore(tmp_path / "s")
    fit = Fit(b.digest, b.vocabulary.digest, 7, 96, prompt_store.digest(p_init))
    entry = kept.read("rte/peft-seed5", fit)
    assert entry.metadata.backbone == "miniature"
    assert entry.metadata.imported_from == "rte.npy"
    np.testing.assert_array_equal(entry.arrays["tpv"], new_prompt() - p_init)
    np.testing.assert_array_equal(kept.read_p_init(prompt_store.digest(p_init)), p_init)


def test_the_start_may_be_a_file(tmp_path: pathlib.Path) -> None:
    start = np.full((7, 96), 0.25, np.float32)
    np.save(tmp_path / "start.npy", start)
    np.save(tmp_path / "x.npy", new_prompt())
    named = f"sst2={tmp_path / 'x.npy'}"
    _run("import", "--store", tmp_path, "--p_init", tmp_path / "start.npy", named)
    entry = prompt_store.PromptStore(tmp_path).read("sst2/imported-seed0")
    np.testing.assert_array_equal(entry.arrays["tpv"], new_prompt() - start)
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
    digest = miniature().checkpoint.digest()
    kept = new_store(tmp_path, new_prompt(), digest)
    to = import_export.Target(tmp_path / "out", "prompt_tuning", miniature())
    made = import_export.export_prompts(kept, [ENTRY], to)
    name = "numpy_checkpoints/checkpoint_40/encoder.prompt.prompt.prompt"
    assert made == [tmp_path / "out" / ENTRY / name]
    with made[0].open("rb") as file:
        np.testing.assert_array_equal(np.load(file), new_prompt())
    # A run's folder, one of its steps, the file: the newest where there are several.
    older = made[0].parents[1] / "checkpoint_9"
    older.mkdir()
    np.save(older / "x.npy", np.ones((2, 3), np.float32))
    (older / "x.npy").rename(older / made[0].name)
    for path in (made[0].parents[2], made[0].parents[1], made[0].parent, made[0]):
        got = prompt_files.read(path)
        np.testing.assert_array_equal(got.rows, new_prompt())
        assert got.decoder_only is False
    assert prompt_files.read(older).rows.shape == (2, 3)
    llama = prompt_files.prompt_tuning(new_prompt(), decoder_only=True, step=0)
    assert list(llama) == [
        "/numpy_checkpoints/checkpoint_0/decoder.prompt.prompt.prompt"
    ]


def test_half_precision_is_widened(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "a.npy", np.float16([[0.1, 2]]))
    got = prompt_files.read(tmp_path / "a.npy").rows
    assert got.dtype == np.float32 and got[0, 0] == np.float32(np.float16(0.1))


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
    assert exit_code([str(a) for a in ("backbone", *where)]) == 2
    assert "model is not empty" in capsys.readouterr().err


def test_a_llama_is_not_written(tmp_path: pathlib.Path) -> None:
    source = load.open_source(str(golden.GOLDEN / "llama_untied"))
    with pytest.raises(InputError, match="only a T5 can be written"):
        import_export.convert_backbone(source, "t5x", tmp_path / "x", "float32", 0)


def test_exported_paths_are_those_of_the_documentation(tmp_path: pathlib.Path) -> None:
    text = (golden.GOLDEN.parents[1] / "docs" / "interop.md").read_text()
    digest = miniature().checkpoint.digest()
    kept = new_store(tmp_path, new_prompt(), digest, "rte/dtvg-seed0")
    for format in import_export.FORMATS:
        to = import_export.Target(tmp_path / format, format, miniature())
        for path in import_export.export_prompts(kept, ["rte/dtvg-seed0"], to):
            folder, name = path.relative_to(tmp_path / format).parent, path.name
            said = str(folder).replace("checkpoint_40", "checkpoint_<step>")
            assert f"O/{said}/" in text and name in text

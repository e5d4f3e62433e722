"""Any damage to a file that a user hands over is a sentence, or changes nothing."""

import contextlib
import pathlib
import random
import shutil
from collections.abc import Callable

import golden_backbones as golden
import numpy as np
import pytest

from dtvg_jax.errors import InputError
from dtvg_jax.formats import hugging_face, load, prompt_files, t5x, tensors
from dtvg_jax.formats.tensors import Checkpoint
from dtvg_jax.formats.vocabularies import load_vocabulary
from dtvg_jax.store.entries import Metadata
from dtvg_jax.store.prompt_store import PromptStore

NAME = "rte/dtvg-seed0"
PEFT = golden.GOLDEN / "peft" / "t5"


def _hugging_face(folder: pathlib.Path) -> object:
    return _values(hugging_face.open_checkpoint(folder))


def _t5x(folder: pathlib.Path) -> object:
    return _values(t5x.open_checkpoint(folder))


def _values(opened: Checkpoint) -> object:
    leaves = tensors.by_path(opened.params("float32"))
    return {name: np.asarray(leaf).tobytes() for name, leaf in leaves.items()}


def _vocabulary(folder: pathlib.Path) -> object:
    made = load_vocabulary(folder, decoder_only=False, rows=1000)
    return made.digest, made.encode(["a good film", "is it?"]), made.eos_id


def _prompt(folder: pathlib.Path) -> object:
    return prompt_files.read(folder).rows.tobytes()


def _entry(folder: pathlib.Path) -> object:
    return PromptStore(folder).read(NAME).arrays["prompt"].tobytes()


def _numpy(folder: pathlib.Path) -> object:
    return prompt_files.read(folder / "a.npy").rows.tobytes()


def _write_golden(folder: pathlib.Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(golden.GOLDEN / "t5_v1_1_narrow" / name, folder)


def _write_t5x(folder: pathlib.Path) -> None:
    made = golden.load("t5_v1_1_narrow")
    t5x.write(folder, made.config, made.params)


def _write_vocabulary(folder: pathlib.Path) -> None:
    for path in load.open_source("miniature").vocabulary_files():
        shutil.copy(path, folder)


def _write_entry(folder: pathlib.Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    about = Metadata("rte", "dtvg", 0, prompt_length=3, width=4, backbone="b")
    PromptStore(folder).write({"prompt": rows, "tpv": rows}, about)


def _write_adapter(folder: pathlib.Path) -> None:
    shutil.copytree(PEFT, folder, dirs_exist_ok=True)


def _write_numpy(folder: pathlib.Path) -> None:
    np.save(folder / "a.npy", np.ones((3, 4), np.float32))


KINDS: dict[str, tuple[Callable, Callable]] = {
    "hugging_face": (_write_golden, _hugging_face),
    "t5x": (_write_t5x, _t5x),
    "vocabulary": (_write_vocabulary, _vocabulary),
    "entry": (_write_entry, _entry),
    "adapter": (_write_adapter, _prompt),
    "numpy": (_write_numpy, _numpy),
}


def damages(content: bytes, seed: int) -> list[bytes | None]:
    """Makes broken copies: a flipped bit, a part, nothing, none at all."""
    rng, broken = random.Random(seed), []
    for _ in range(3):
        place = rng.randrange(len(content))
        flipped = content[place] ^ (1 << rng.randrange(8))
        broken.append(content[:place] + bytes([flipped]) + content[place + 1 :])
    cuts = [content[: rng.randrange(len(content))] for _ in range(2)]
    return [*broken, *cuts, b"", None]


SLOW = ("hugging_face", "t5x")  # A whole backbone is loaded for each damage.


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in KINDS],
)
def test_a_damaged_file_is_a_sentence_or_changes_nothing(
    kind: str, tmp_path: pathlib.Path
) -> None:
    write, read = KINDS[kind]
    write(tmp_path)
    whole = read(tmp_path)
    for path in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        content = path.read_bytes()
        for damage in damages(content, seed=len(content)):
            path.unlink(missing_ok=True)
            if damage is not None:
                path.write_bytes(damage)
            with contextlib.suppress(InputError):
                got = read(tmp_path)
                if damage is None or len(damage) != len(content):
                    # A part of a SentencePiece model is one too, of another digest.
                    noticed = kind == "vocabulary" and got[0] != whole[0]
                    assert got == whole or noticed, path
        path.write_bytes(content)
    assert read(tmp_path) == whole

"""The PyTorch programs of docs/interop.md, run where torch is installed."""

import ast
import importlib.util
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from dtvg_jax.formats import load, prompt_files
from dtvg_jax.inference import decoding

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEEDED = ("torch", "transformers", "peft", "google.protobuf", "sentencepiece")
STEPS = 8


def _missing() -> list[str]:
    def there(name: str) -> bool:
        try:
            return importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            return False

    return [name for name in NEEDED if not there(name)]


def _programs() -> list[str]:
    text = (ROOT / "docs" / "interop.md").read_text().partition("### In PyTorch")[2]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]


def _ours(text: str, prompt: np.ndarray) -> str:
    b = load.load_backbone("miniature")
    inputs = np.array([[*b.vocabulary.encode([text])[0], b.vocabulary.eos_id]])
    made = jax.jit(
        lambda params, prompt, inputs: decoding.greedy(b, params, prompt, inputs, STEPS)
    )(b.params, prompt, inputs.astype(np.int32))
    return b.vocabulary.decode(np.asarray(made.tokens).tolist())[0]


@pytest.mark.slow
def test_the_programs_answer_as_this_package_does(tmp_path: pathlib.Path) -> None:
    if missing := _missing():
        pytest.skip(f"docs/interop.md is run in PyTorch, which lacks {missing}")
    source = load.open_source("miniature")
    rows = np.random.default_rng(3).normal(size=(7, 96)).astype(np.float32)
    parts = prompt_files.peft(rows, source.config, str(source.folder))
    parts |= prompt_files.npy(rows)
    program = "\n".join(_programs())
    [name] = set(re.findall(r'"(O/[^".]*)(?:\.npy)?"', program))
    for suffix, content in parts.items():
        path = tmp_path / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    [text] = re.findall(r'tokenizer\(\s*\["(.*)"\]', program)
    program += "print([len(tokenizer), len(plain.get_input_embeddings().weight)])\n"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *answers, sizes = (ast.literal_eval(line) for line in done.stdout.splitlines())
    assert answers == [[_ours(text, rows)]] * 2
    # Every id that the tokenizer makes has a row in the embedding.
    assert sizes[0] <= sizes[1]

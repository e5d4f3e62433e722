"""Every gin file: its header gives a command, and that command's settings are right."""

import pathlib
import re
import shlex

import pytest

import gin
from dtvg_jax.cli import command, gin_settings
from dtvg_jax.cli.commands import pretrain, train
from dtvg_jax.jobs import job
from dtvg_jax.pretraining import loop

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("gin/**/*.gin"))
CONFIGURES = {
    "dtvg_jax.train": (train, job.Job),
    "dtvg_jax.pretrain": (pretrain, loop.Pretraining),
}


def header(file: str) -> str:
    """The comment at the top of a file, without its marks."""
    found = re.match(r"(#.*\n)+", (ROOT / file).read_text())
    assert found, f"{file} does not open with a comment"
    return re.sub(r"^# ?", "", found[0], flags=re.MULTILINE)


@pytest.mark.parametrize("file", FILES)
def test_the_command_of_the_header_finds_every_setting(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    [line] = re.findall(r"^ +python -m (dtvg_jax\..*)", header(file), re.MULTILINE)
    module, *given = shlex.split(line)
    called, made = CONFIGURES[module]
    gin.clear_config()
    command.parse(called.COMMAND, [module, *given])
    assert file in called.GIN.files.value
    gin_settings.configure(made, called.GIN)  # refuses what is unknown, wrong or unused
    bindings = re.findall(r"^[\w./]+ =", gin.operative_config_str(), re.MULTILINE)
    gin.clear_config()
    assert len(bindings) <= 60

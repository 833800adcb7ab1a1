# Two commands matter: `make demo` trains the main network, `make test` proves the rest. Both work on a fresh machine.
#   make demo ARGS="--epochs 2 --seed 3"      make test ARGS="tests/test_random.py -x"

VENV ?= .venv
BIN  := $(VENV)/bin
ARGS ?=

# The newest Python from 3.11 up that can make a virtual environment; name your own with `make PYTHON=/path/to/python3`.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

.PHONY: demo test lint check bench clean
.DEFAULT_GOAL := check

demo: $(VENV)/.demo        ## train the convolutional network on MNIST
	$(BIN)/chainrule train mnist-cnn $(ARGS)

test: $(VENV)/.test        ## every law, on two processes
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(VENV)/.test        ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test           ## what CI runs

bench: $(VENV)/.demo       ## against PyTorch and others, in turns; those that are not installed are skipped
	$(BIN)/python -m benchmarks.run $(ARGS)

clean:                     ## forget the environment and what was built; your data and results stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Chain Rule needs Python 3.11 or newer with its venv module, and found none: install one" \
		"(Debian, Ubuntu: apt install python3 python3-venv), or name yours: make PYTHON=/path/to/python3" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# A stamp per set of extras: installing again waits until pyproject.toml changes.
define install
@echo "Installing chainrule$(1) into $(VENV); the first time takes a minute or two ..."
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".$(1)"
@touch $@
endef

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(call install,[data])
$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(call install,[data$(comma)test])

comma := ,

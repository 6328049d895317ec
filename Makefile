# PYTHON: the interpreter that makes .venv (3.11 to 3.13).
# GPU_PYTHON: for `make gpu`, one that has CuPy, pytest and the peers already; empty: that of .venv.
PYTHON ?= python3
# WHEELS_FOR: for `make wheels`, the version of GPU_PYTHON.
GPU_PYTHON ?=
WHEELS_FOR ?= 3.12
VENV   ?= .venv
comma  := ,

# The CUDA version an installed driver supports: 12, 13 or nothing. CuPy for CUDA 12 and for CUDA 13 cannot share an
# environment, and `dev` holds the latter.
CUDA   := $(shell nvidia-smi 2>/dev/null | sed -n 's/.*CUDA[A-Za-z ]*Version: *\([0-9]*\).*/\1/p' | head -n 1)
EXTRAS := $(if $(filter 13,$(CUDA)),dev,$(if $(filter 12,$(CUDA)),tools,dev)),demo$(if $(filter 12 13,$(CUDA)),$(comma)cuda$(CUDA))
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

# One BLAS thread for small work: the same seed gives the same figures on every machine, and two processes on two cores
# do not wait for each other's threads.
demo test test-all: export OPENBLAS_NUM_THREADS ?= 1
demo test test-all: export MKL_NUM_THREADS ?= 1

.PHONY: help demo test test-all lint bench gpu gpu-memory wheels clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      train on the handwritten digits and show what the tape kept"
	@echo "make test      the tests, without those that take more than a minute"
	@echo "make test-all  all tests"
	@echo "make lint      ruff and pyright"
	@echo "make bench     what gpugrad itself costs, beside NumPy and installed peers"
	@echo "make gpu       on a GPU: its tests, compute-sanitizer, kernels, products, steps, all within ten minutes"
	@echo "               GPU_PYTHON=python3 runs it in place, with what that interpreter has, and installs nothing;"
	@echo "               ARGS='--only kernels --quick' is for bench/gpu.py"
	@echo "make gpu-memory  on a GPU: peak memory of steps beside PyTorch, and the report of gpugrad memory; a few minutes"
	@echo "make wheels    what that interpreter may lack, into build/wheels, from where \`make gpu\` takes it: for a machine"
	@echo "               without a network; WHEELS_FOR=3.12 is its version"
	@echo "make clean     remove .venv and everything built"

demo: $(STAMP)
	$(BIN)/gpugrad demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow" -q

test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 -q

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

bench: $(STAMP)
	$(BIN)/python bench/overhead.py

gpu: $(if $(GPU_PYTHON),,$(STAMP))
	$(if $(filter 12 13,$(CUDA)),,$(error make gpu: nvidia-smi shows no driver for CUDA 12 or 13))
	$(or $(GPU_PYTHON),$(BIN)/python) bench/gpu.py --output bench/results $(ARGS)

gpu-memory: $(if $(GPU_PYTHON),,$(STAMP))
	$(or $(GPU_PYTHON),$(BIN)/python) bench/memory.py --gpu --quick --output bench/results
	PYTHONPATH=. $(or $(GPU_PYTHON),$(BIN)/python) -m gpugrad memory --device cuda \
	  --html bench/results/memory-gpu.html --json bench/results/memory-gpu-report.json examples/memory_mlp.py

wheels:
	$(PYTHON) bench/wheels.py --python $(WHEELS_FOR)

$(STAMP): pyproject.toml
	@test -x $(BIN)/pip || { \
	  $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "gpugrad needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	         "Name another one: make PYTHON=python3.12" >&2; exit 1; }; \
	  $(PYTHON) -m venv --clear $(VENV); }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@rm -f $(VENV)/.installed-*
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find gpugrad tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

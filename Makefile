# Every target sets itself up. A fresh machine needs make and Python 3.11 or newer, nothing else.
#
#   make demo [DEFECT=1] [DEMO_ARGS=…]   a first load in Airflow against a simulated register
#   make test [TEST_ARGS=…]              all tests, those with real Airflow processes too
#   make lint                            ruff, mypy, import-linter
#   make bench [BENCH_ARGS=…]            speed and memory, with goals and peers beside them
#   make faults [N=…] [SEED=…]           loads under random faults, each run from one seed; PROCESSES=2; VERBOSE=1
#   make ui [PORT=8080]                  Airflow's own UI with everything in place; make ui-stop ends it, as Ctrl-C does
#   make browser                         the tests in a real browser, all of them; KFR_SCREENSHOTS=folder keeps the pictures
#   make kills [TEST_ARGS="-k …"]        loads in a real Airflow in which something dies (50 minutes)
#   make bites                           bugs put in by hand, one after another: do the fault runs find them?
#   make mutants                         a fault in every line of guards, proof, removal and mirror: does a test see it?
#   make fuzz [SECONDS=…] [TARGETS=…]    what comes from outside, made as hostile as can be, a minute for each of nine targets
#   make audit                           known vulnerabilities of what requirements.lock names, as osv.dev has them
#   make year                            a simulated year of loads, day by day, and random weeks
#   make leaks                           a load with faults, then a search of all that the machine keeps for identifiers
#   make walk                            the way in, from an empty file to D-4; KFR_PRINTS=folder keeps reports and mails
#   make check-sql [CONN=…]              run include/sql/ so that it gives no row, and name what is wrong
#   make lock                            compile requirements.lock anew (after a change of dependencies)

PYTHON ?= python3
N ?= 200
SEED ?= 1
CONN ?= kfr_warehouse
PROCESSES ?= 1
VERBOSE ?=
PORT ?= 8080
DEFECT ?=
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
SECONDS ?= 60
TARGETS ?=

UV_VERSION := 0.13.9
VENV := .venv
RUN := $(VENV)/bin/python
UV := $(VENV)/bin/uv
VENV_READY := $(VENV)/.uv-$(UV_VERSION)
PACKAGES_READY := $(VENV)/.packages-ready
SETUP_READY := $(VENV)/.setup-ready
FUZZER_READY := .fuzz/.atheris-ready
PEERS := .bench/peers
PEERS_READY := .bench/.peers-ready
# A file of tests stays in one process, and the slow ones (tests/dags, tests/system) are begun first.
EVERY_PROCESSOR := --numprocesses auto --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench faults year kills leaks bites mutants fuzz audit ui ui-stop browser walk check-sql lock clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(SETUP_READY)

demo: setup
	@$(RUN) -m tests.demo $(if $(DEFECT),--defect) $(DEMO_ARGS)

test: setup
	@$(RUN) -m pytest $(or $(TEST_ARGS),$(EVERY_PROCESSOR))

lint: setup
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports

bench: setup $(PEERS_READY)
	@$(RUN) -m bench $(BENCH_ARGS)

faults: setup
	@$(RUN) -m tests.faults --runs $(N) --from-seed $(SEED) --processes $(PROCESSES) $(if $(VERBOSE),--verbose)

kills: setup
	@KFR_LONG=1 $(RUN) -m pytest -s tests/system/test_kills.py $(TEST_ARGS)

ui: setup
	@$(RUN) -m tests.system.ui --port $(PORT)

ui-stop:
	@$(RUN) -m tests.system.ui --stop

browser: setup
	@KFR_LONG=1 $(RUN) -m pytest tests/system/test_page.py tests/system/test_forms.py $(TEST_ARGS)

walk: setup
	@KFR_LONG=1 $(RUN) -m pytest tests/system/test_onboarding.py $(TEST_ARGS)

bites: setup
	@$(RUN) -m tests.faults.bites

# mutmut looks for a package in src/, so it gets a copy that has it there. It says which mutants no test has seen.
mutants: setup
	@rm -rf .mutants && mkdir .mutants
	@cp -rL plugins .mutants/src && cp -r tests include pyproject.toml README.md .mutants
	@cd .mutants && ../$(VENV)/bin/mutmut run --max-children $(PROCESSES) > run.log && ../$(VENV)/bin/mutmut results

year: setup
	@$(RUN) -m pytest tests/faults/test_year.py $(TEST_ARGS)

leaks: setup
	@KFR_LONG=1 $(RUN) -m pytest tests/unit/test_leaks.py tests/system/test_leaks.py $(TEST_ARGS)

fuzz: setup $(FUZZER_READY)
	@$(RUN) -m tests.fuzz --seconds $(SECONDS) $(TARGETS)

audit: setup
	@$(RUN) -m tests.audit

check-sql: setup
	@$(RUN) -m kfr check-sql --conn-id $(CONN)

lock: $(VENV_READY)
	@$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
		--all-extras --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .bench .fuzz .mutants dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# Each step leaves a file, so that a second `make` has nothing to do. The package itself is installed last: `uv pip
# sync` removes what the lock does not name (it leaves pip and uv, as they came with the environment).
$(SETUP_READY): $(PACKAGES_READY) pyproject.toml
	@$(UV) pip install --quiet --python $(RUN) --no-deps --editable .
	@touch $@

# Apart from the lock: it has wheels for Linux only.
$(FUZZER_READY): $(VENV_READY)
	@rm -rf .fuzz/tools && mkdir -p .fuzz
	@$(UV) pip install --quiet --python $(RUN) --target .fuzz/tools --no-deps --only-binary :all: atheris==3.0.0 || { \
		echo "atheris does not install on this machine; make test tries the same properties, with fewer inputs." >&2; \
		exit 1; }
	@touch $@

# What the package is measured against, apart from it. Where they do not install, the rest is measured without them.
$(PEERS_READY): bench/peers.txt $(VENV_READY)
	@echo "Installing what the package is measured against"
	@mkdir -p .bench
	@$(UV) venv --quiet --clear --python $(RUN) $(PEERS) && \
		$(UV) pip install --quiet --python $(PEERS)/bin/python -r bench/peers.txt || rm -rf $(PEERS)
	@touch $@

$(PACKAGES_READY): $(VENV_READY) requirements.lock
	@echo "Installing what requirements.lock names"
	@$(UV) pip sync --quiet --python $(RUN) --require-hashes requirements.lock
	@touch $@

$(VENV_READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed and $(PYTHON) is not: name one, as in 'make PYTHON=python3.12'." >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "Python's venv module is missing: install it (Debian and Ubuntu call it python3-venv)." >&2; \
		exit 1; }
	@$(RUN) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

# Every target prepares what it needs: on a fresh machine, Python 3.11 or newer and make are enough.
# Repeats are fast, because an environment is made anew only when pyproject.toml has changed.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

# Which Python makes the environments; say `make test PYTHON=python3.12` to choose.
PYTHON ?=
# Further arguments for pytest or for the benchmark: `make test ARGS="-k journal -x"`.
ARGS ?=
# How often `make repeat` runs what it repeats.
TIMES ?= 10
# Tests wait as much as they compute: half as many processes again as there are cores.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n + n / 2)))
# A file of exact versions for pip to keep to, as CI does: `make test CONSTRAINTS=constraints.txt`.
CONSTRAINTS ?=

VENV := .venv
BENCH_VENV := .venv-bench
WHEEL_VENV := .venv-wheel
RUN := $(VENV)/bin/python
PACKAGE_FILES := pyproject.toml fiveobs/_version.py
#: What is formatted and linted, as far as it is there.
SOURCES := $(wildcard fiveobs tests bench docs examples)

# Images for containers set it. Each of the processes that tests start would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# $(call make-venv,FOLDER): a virtual environment with a pip that knows dependency groups.
define make-venv
@found=""; \
for name in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
    found="$$name"; break; \
  fi; \
done; \
if [ -z "$$found" ]; then \
  echo "fiveobs needs Python 3.11 or newer, and none was found as:" \
    "$(or $(PYTHON),python3.13 python3.12 python3.11 python3)." >&2; \
  echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
  exit 1; \
fi; \
if ! "$$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
  echo "$$found cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
  echo "On Debian and Ubuntu: apt install python3-venv" >&2; \
  exit 1; \
fi; \
echo "making $(1) with $$($$found --version)"; \
"$$found" -m venv $(1)
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
endef

# $(call pip-install,FOLDER,WHAT); a comma in WHAT would end it: write $(COMMA).
# What the benchmarks are compared with has bounds of its own.
COMMA := ,
define pip-install
@echo "installing $(2) into $(1)"
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check \
  $(if $(filter $(BENCH_VENV),$(1)),,$(addprefix -c ,$(CONSTRAINTS))) $(2)
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/.ready-demo ## see all five tracks at work and ask the monitor, with local receivers only
	$(RUN) examples/demo.py

.PHONY: test
test: $(VENV)/.ready-test ## run the tests of jobs, tracks, commands and stores, which need nothing else (ARGS="-k name")
	$(RUN) -m pytest -q -n $(WORKERS) tests/unit tests/contract tests/acceptance --ignore=tests/unit/monitor \
	  -m "not peer and not slow" $(ARGS)

.PHONY: test-monitor
test-monitor: $(VENV)/.ready-test ## run the tests of the monitor: its parts, and whole ones with streams, webhooks, the terminal
	$(RUN) -m pytest -q -n $(WORKERS) tests/unit/monitor tests/monitor -m "not peer and not slow" $(ARGS)

.PHONY: peers
peers: $(VENV)/.ready-peers ## install the real programs that test-peers runs (Collector, Spotlight, …), outside the checkout
	$(RUN) -m tests.peers.harness.install

.PHONY: test-peers
test-peers: $(VENV)/.ready-peers ## run the tests against real programs; those that are absent are skipped
	$(RUN) -m pytest -q -n 2 --dist loadfile tests/peers $(ARGS)

.PHONY: test-postgresql
test-postgresql: $(VENV)/.ready-peers ## run the tests of the store once more with PostgreSQL, which they start
	$(RUN) -m pytest -q -n 2 tests/unit tests/contract tests/monitor -m peer $(ARGS)

.PHONY: test-faults
test-faults: $(VENV)/.ready-test ## kill, starve and black-hole workers and receivers, and count what arrives
	$(RUN) -m pytest -q -n 2 tests/faults -m "not slow" $(ARGS)

.PHONY: repeat
repeat: $(VENV)/.ready-peers ## run the peer and fault suites TIMES times, and stop at the first failure (TIMES=10)
	@passed=0; while [ "$$passed" -lt "$(TIMES)" ]; do \
	  $(MAKE) --no-print-directory test-peers test-faults \
	    || { echo "$$passed of $(TIMES) runs passed, and the next one failed" >&2; exit 1; }; \
	  passed=$$((passed + 1)); echo "$$passed of $(TIMES) runs passed"; \
	done

.PHONY: soak
soak: $(VENV)/.ready-test ## workers at full speed while receivers come and go (ARGS="--seconds 3600 --seed 7")
	$(RUN) -m tests.faults.soak $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.ready-test ## ask a monitor 100,000 made-up things (FIVEOBS_FUZZ_REQUESTS, FIVEOBS_FUZZ_SEED)
	FIVEOBS_FUZZ_REQUESTS=$${FIVEOBS_FUZZ_REQUESTS:-100000} \
	  $(RUN) -m pytest -q -s tests/monitor/test_fuzzing.py $(ARGS)

.PHONY: test-all
test-all: $(VENV)/.ready-peers ## run every test, peers, faults and slow ones included
	$(RUN) -m pytest -q tests $(ARGS)

.PHONY: check
check: $(VENV)/.ready-check ## formatting, lint, types, and a docstring for every test
	$(RUN) -m ruff format --check $(SOURCES)
	$(RUN) -m ruff check $(SOURCES)
	$(RUN) -m mypy --strict fiveobs $(wildcard tests/typing)
	$(RUN) -m interrogate tests

.PHONY: format
format: $(VENV)/.ready-check ## let ruff format the code and mend what it can
	$(RUN) -m ruff check --fix-only $(SOURCES)
	$(RUN) -m ruff format $(SOURCES)

.PHONY: bench
bench: $(BENCH_VENV)/.ready ## measure what a job pays, beside other libraries (ARGS="--rounds 1")
	$(BENCH_VENV)/bin/python bench/overhead.py $(ARGS)

.PHONY: bench-outage
bench-outage: $(BENCH_VENV)/.ready ## measure what a job pays while its destinations fail (ARGS="--rounds 1")
	$(BENCH_VENV)/bin/python bench/outage.py $(ARGS)

.PHONY: docs
docs: $(VENV)/.ready-demo ## write docs/reference anew from the code, and check every link
	@if [ -f docs/reference/generate.py ]; then $(RUN) docs/reference/generate.py; fi
	$(RUN) docs/check_links.py

.PHONY: constraints
constraints: ## write constraints.txt, the versions that CI tests with, anew from what is newest now
	rm -rf $(WHEEL_VENV)
	$(call make-venv,$(WHEEL_VENV))
	$(MAKE) --no-print-directory CONSTRAINTS= constraints-installed
	{ sed -n '/^#/p' constraints.txt; $(WHEEL_VENV)/bin/python -m pip freeze --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf $(WHEEL_VENV)

.PHONY: constraints-installed
constraints-installed:
	$(call pip-install,$(WHEEL_VENV),-e '.[all]' --group check --group peers --group build)

.PHONY: build
build: $(VENV)/.ready-build ## build the wheel and the sdist, and try the wheel in a fresh environment
	rm -rf dist $(WHEEL_VENV)
	$(RUN) -m build --outdir dist .
	$(call make-venv,$(WHEEL_VENV))
	$(call pip-install,$(WHEEL_VENV),dist/*.whl)
	cd dist && ../$(WHEEL_VENV)/bin/python -c 'import fiveobs; from importlib.resources import files; \
	  [files("fiveobs").joinpath(name).read_bytes() for name in ("py.typed", "journal/schema.json", \
	  "cli/report.html.jinja", "monitor/api/examples.json", "monitor/tracking/examples.json")]'
	cd dist && ../$(WHEEL_VENV)/bin/fiveobs --version

.PHONY: test-wheel
test-wheel: build ## run the acceptance tests and those of the commands, of the sdist, against the built wheel
	rm -rf build/sdist && mkdir -p build/sdist
	tar -xzf dist/*.tar.gz -C build/sdist --strip-components=1
	rm -rf build/sdist/fiveobs
	$(call pip-install,$(WHEEL_VENV),"$$(ls dist/*.whl)[monitor]" --group test)
	cd build/sdist && ../../$(WHEEL_VENV)/bin/python -m pytest -q -n $(WORKERS) tests/acceptance \
	  tests/unit/test_cli_*.py tests/unit/monitor/test_cli_*.py -m "not peer and not slow" $(ARGS)

.PHONY: clean
clean: ## remove everything that the other targets made
	rm -rf $(VENV) $(BENCH_VENV) $(WHEEL_VENV) build dist
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed already is known by a stamp file in the environment itself.

$(VENV)/.ready-pip:
	$(call make-venv,$(VENV))
	@touch $@

$(VENV)/.ready-base: $(PACKAGE_FILES) $(VENV)/.ready-pip
	$(call pip-install,$(VENV),-e .)
	@touch $@

$(VENV)/.ready-demo: $(VENV)/.ready-base
	$(call pip-install,$(VENV),-e '.[demo$(COMMA)monitor]')
	@touch $@

$(VENV)/.ready-test $(VENV)/.ready-peers $(VENV)/.ready-check $(VENV)/.ready-build: $(VENV)/.ready-%: $(VENV)/.ready-base
	$(call pip-install,$(VENV),-e '.[monitor]' --group $*)
	@touch $@

$(BENCH_VENV)/.ready: $(PACKAGE_FILES)
	$(call make-venv,$(BENCH_VENV))
	$(call pip-install,$(BENCH_VENV),-e . --group bench)
	@touch $@

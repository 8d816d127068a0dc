# `make help` lists the targets. tools/setup.sh puts what they need into ./.venv; PYTHON=... chooses the interpreter.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs pictures wheel bpf clean setup setup-dev test-rust test-python test-vm check-python check-rust check-bpf check-shell

BIN := .venv/bin
# rustup's folder comes last: a toolchain that is already on PATH goes first.
export PATH := $(PATH):$(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin
# pyo3 would ask whichever python3 stands first on PATH.
CARGO := PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo
LOCKED := $(if $(CI),--locked)
# Most tests wait for most of their time. `make test ARGS="-n0 --pdb tests/test_sync.py"` runs them in one process.
WORKERS := $(shell n=$$((2 * $$(nproc))); echo $$((n < 8 ? n : 8)))
# A developer looks at what failed at once; CI first asks whether it fails alone, too.
ALONE := $(if $(CI),tools/tests-alone.sh,false)
BENCHES := $(if $(NAME),$(NAME:%=bench/%.py),$(filter-out bench/harness.py bench/options.py,$(wildcard bench/*.py)))

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: setup ## set everything up in ./.venv, then open every socket type of this machine
	@$(BIN)/socketkit tour

test: test-rust test-python ## set everything up, then run all tests (pytest's arguments in ARGS)

check: check-python check-rust check-bpf check-shell ## formats, lints, types, and the stub of the compiled module

bench: setup-dev ## run the benches, or one: make bench NAME=echo
	@for bench in $(BENCHES); do echo "== $$bench" && $(BIN)/python $$bench || exit 1; done

docs: setup-dev ## check the pages: links resolve, examples run, commands exist
	@$(BIN)/python -m pytest tests/test_docs.py --quiet

pictures: setup-dev ## take the pictures of the pages anew (root)
	@for tool in tools/pictures*.py; do $(BIN)/python $$tool || exit 1; done

wheel: setup ## build the wheel (abi3: one for every Python from 3.11 on) into dist/
	@$(BIN)/maturin build --release $(LOCKED) --quiet --out dist && ls dist/*.whl

bpf: ## build the BPF objects that are committed (Debian 12's clang-14 and llvm-14)
	@rust/bpf/build.sh rust/bpf

clean: ## remove everything that was built, .venv too
	rm -rf .venv target build dist bench/build fuzz/target .hypothesis .mypy_cache .pytest_cache .ruff_cache python/socketkit/_core*.so
	find python tests bench -name __pycache__ -prune -exec rm -rf {} +

setup:
	@PYTHON="$(PYTHON)" tools/setup.sh run

setup-dev:
	@PYTHON="$(PYTHON)" tools/setup.sh dev

# Rust first: pytest's summary is the last thing that a person reads.
.NOTPARALLEL:

test-rust: setup-dev
	$(CARGO) test --workspace $(LOCKED) --quiet

test-python: setup-dev
	$(if $(CI),@rm -f .pytest_cache/v/cache/lastfailed)
	$(BIN)/python -m pytest -n $(WORKERS) --maxschedchunk 4 --ignore tests/vm $(ARGS) || { [ $$? -eq 1 ] && $(ALONE); }

test-vm: setup-dev
	tools/vm-kernel.sh
	$(BIN)/python -m pytest tests/vm $(ARGS)

check-python: setup-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/stubtest socketkit._core --mypy-config-file pyproject.toml

check-rust: setup-dev
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(LOCKED) --quiet -- -D warnings

# Another compiler gives other bytes, so it is this one or none.
check-bpf:
	@if command -v clang-14 >/dev/null && command -v llvm-strip-14 >/dev/null; then \
	mkdir -p build && rust/bpf/build.sh build && for object in table births; do cmp "build/$$object.bpf.o" "rust/bpf/$$object.bpf.o" || exit 1; done; \
	else echo "clang-14 is not here (apt install clang-14 llvm-14): whether the BPF objects are those of their source went unchecked"; fi

check-shell:
	@if command -v shellcheck >/dev/null; then shellcheck tools/*.sh rust/bpf/*.sh .ci/run; \
	else echo "shellcheck is not here (apt install shellcheck): the shell scripts went unchecked"; fi

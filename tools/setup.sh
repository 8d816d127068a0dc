#!/bin/sh
# Takes a bare machine to a working ./.venv: finds the tools, makes the environment, installs, builds the engine.
#
#   tools/setup.sh run      what `socketkit` needs
#   tools/setup.sh dev      and what tests, checks and benches need
#
# PYTHON=/path/to/python chooses the interpreter. Rules: everything stays inside the repository; what is missing is said
# in one line with its remedy, before anything slow starts; a second run does only what has changed.
set -eu
cd "$(dirname "$0")/.."

main() {
    case ${1-} in run | dev) ;; *) fail "usage: tools/setup.sh run|dev" ;; esac
    find_python
    find_compiler
    make_environment
    install_packages run
    [ "$1" = run ] || install_packages dev
    build_engine
}

# --- the tools this machine must have

find_python() {
    python=
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            return
        fi
    done
    remedy="apt install python3 (Debian 12+), or name another with PYTHON=/path/to/python3"
    fail "Python 3.11 or newer is needed, ${PYTHON:-python3} is $(python_version "${PYTHON:-python3}"): $remedy"
}

python_version() {
    "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo missing
}

find_compiler() {
    # rustup puts cargo here and changes PATH only for the shells that start later.
    PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    remedy="install Rust with rustup (https://rustup.rs), or with apt install cargo from Debian 13 on"
    command -v cargo >/dev/null || fail "cargo is missing, Rust $needed or newer is needed: $remedy"
    found=$(cargo --version 2>/dev/null | cut -d ' ' -f 2)
    [ -n "$found" ] || fail "cargo is there but does not start: try 'rustup default stable'"
    [ "$(minor "$found")" -ge "$(minor "$needed")" ] ||
        fail "cargo $found is too old, Rust $needed or newer is needed: $remedy"
    command -v cc >/dev/null || fail "no C linker (cc), Rust needs one: apt install build-essential"
}

minor() { # of 1.MINOR.PATCH
    rest=${1#*.}
    echo "${rest%%.*}"
}

# --- the environment

make_environment() {
    ! is_usable || return 0
    say "making .venv with Python $(python_version "$python")"
    # Debian keeps ensurepip in a package of its own; pip of the outside can put pip into the environment as well.
    has ensurepip || has pip || install_with_apt || :
    if has ensurepip; then
        "$python" -m venv --clear .venv || fail "'$python -m venv' failed (its message is above)"
    elif has pip; then
        # `pip --python` installs into the environment, so a system that refuses plain pip does not mind.
        "$python" -m venv --clear --without-pip .venv || fail "'$python -m venv' failed (its message is above)"
        "$python" -m pip --python .venv/bin/python install --quiet --disable-pip-version-check pip ||
            fail "pip could not put itself into .venv (its message is above)"
    else
        fail "Python $(python_version "$python") has neither ensurepip nor pip: apt install $(venv_package)"
    fi
}

is_usable() { # an interpreter that the caller named replaces an environment made by another one
    .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        { [ -z "${PYTHON:-}" ] || [ "$(interpreter "$python")" = "$(interpreter .venv/bin/python)" ]; }
}

interpreter() {
    "$1" -c 'import sys; print(sys.version, sys.base_prefix)'
}

has() { # an empty folder that a removed package left behind can be imported, but not run
    "$python" -m "$1" --version >/dev/null 2>&1
}

install_with_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "no ensurepip and no pip: installing $(venv_package) with apt"
    apt-get install -y -q "$(venv_package)" >/dev/null ||
        { apt-get update -q >/dev/null && apt-get install -y -q "$(venv_package)" >/dev/null; }
}

venv_package() {
    "$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])'
}

# --- what goes into it

install_packages() { # run|dev; the stamp holds what was installed: an edit elsewhere in pyproject.toml costs nothing
    requirements "$1" >".venv/$1.wanted"
    cmp -s ".venv/$1.wanted" ".venv/$1.installed" && return
    say "installing packages ($1)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement ".venv/$1.wanted" ||
        fail "pip could not install the packages in .venv/$1.wanted (its message is above)"
    mv ".venv/$1.wanted" ".venv/$1.installed"
}

requirements() {
    .venv/bin/python - "$1" <<'PYTHON'
import sys, tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
# With the extras: whoever types a command of the README should not have to ask for its packages.
run = project["build-system"]["requires"] + project["project"]["dependencies"]
run += [package for extra in project["project"]["optional-dependencies"].values() for package in extra]
print("\n".join(run if sys.argv[1] == "run" else project["dependency-groups"]["dev"]))
PYTHON
}

build_engine() {
    stamp=.venv/engine.built
    if [ -e "$stamp" ] && [ -e python/socketkit/_core.abi3.so ] &&
        [ -z "$(find rust Cargo.toml Cargo.lock pyproject.toml -newer "$stamp" 2>/dev/null | head -n 1)" ]; then
        return
    fi
    say "building the engine in release mode$([ -d target/release ] || echo " (the first time takes three minutes)")"
    : >"$stamp.new" # taken before the build: what is edited while it runs is built the next time
    # Editable: the Python source is used where it is, and the compiled module is put beside it. Not by `maturin develop`,
    # which installs the group `dev` by an option that Debian 12's pip lacks.
    PATH=$PWD/.venv/bin:$PATH MATURIN_PEP517_ARGS=${CI:+--locked} .venv/bin/python -m pip install --quiet \
        --disable-pip-version-check --no-build-isolation --no-deps --editable . ||
        fail "the engine did not build (the compiler's message is above)"
    mv "$stamp.new" "$stamp"
}

# --- words

say() {
    printf 'setup: %s\n' "$1"
}

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

main "$@"

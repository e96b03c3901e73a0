#!/usr/bin/env bash
# Everything a change must pass, from the cheapest to the dearest. Run it before you send one; CI runs the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ $# -gt 0 ]; then
    echo "Usage: scripts/check.sh (no arguments; CI=true makes a missing tool an error instead of a notice)"
    [ "$1" = --help ] && exit 0 || exit 2
fi

step() { printf '\n== %s\n' "$*"; }

# Whether a tool is there. Without it the step is left out and that is said; under CI=true that is an error.
have() {
    command -v "$1" >/dev/null && return
    if [ "${CI:-}" = true ]; then
        echo "error: $1 is missing, and with CI=true no step may be left out" >&2
        exit 1
    fi
    echo "LEFT OUT: $1 is not installed"
    return 1
}

step "format"
cargo fmt --check

step "scripts (shellcheck)"
if have shellcheck; then
    # Every file whose first line names a shell.
    mapfile -t shell < <(git ls-files -co --exclude-standard scripts .ci tests |
        while read -r file; do if head -n 1 "$file" | grep -qE '^#!.*[/ ](ba)?sh$'; then echo "$file"; fi; done)
    shellcheck -x "${shell[@]}"
    echo "${#shell[@]} files"
fi

step "manifests"
if have kubectl && have gcloud; then scripts/check_manifests; fi

step "lint"
# With every feature: the load generator too.
cargo clippy --all-targets --all-features --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

step "Google Cloud scripts, under the real gcloud"
if have gcloud; then PYTHONDONTWRITEBYTECODE=1 python3 tests/scripts/test_scripts.py; fi

# Last, so that the closing lines are those of the tests. They also compare the printed documents (docs/configuration.md and
# others, .env.example) with what the program prints.
step "tests"
cargo test --locked

step "all checks passed"

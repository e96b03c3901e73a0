#!/usr/bin/env bash
# Measures the released program on this machine and prints one table. Asserts nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'TEXT'
Usage: scripts/bench.sh [SCENARIO ...] [--events N] [--criterion]

Builds the release and runs it as a child process, with a load generator and a receiver that stands where Security
Command Center would, all on loopback and on the cores of this machine. Takes about two minutes after the build.

Scenarios (default: all)
  ready     from the start of the process to the first 200 of /readyz
  door      POST /events of one 2 KB event up to the durable answer, at 1, 16 and 64 connections, beside the same
            server and parser before a store that keeps nothing, and beside the least server with our parser (no
            metrics, no time limits, no row written down as JSON); deliveries are held meanwhile
  journey   door, outbox, finding, receiver, at 16 and 64 connections, quotas lifted
  slow      the same when every call to the receiver takes 100 ms
  backlog   memory and write-ahead log when nothing can be delivered
  attest    20,000 different good tokens at 64 and 16 connections: POST /attestation/verify with the policy of Google's
            documentation, and GET /attestation/secrets/{name}, which releases once for each token

  --events N    events of the larger runs (default 100000)
  --criterion   also runs the criterion benches of the single stages (benches/pipeline.rs, benches/attest.rs)

Machines differ, and other programs disturb: compare CPU time an event, and ratios within one run. The yardstick beside
door and journey is the least program that does something like it, of the same libraries: it tells what the machine can do.
TEXT
}

scenarios=()
criterion=false
while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help) usage && exit 0 ;;
    --criterion) criterion=true ;;
    --events) scenarios+=("$1" "${2:?--events needs a number}") && shift ;;
    ready | door | journey | slow | backlog | attest | all) scenarios+=("$1") ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
case " ${scenarios[*]} " in
*\ ready\ * | *\ door\ * | *\ journey\ * | *\ slow\ * | *\ backlog\ * | *\ attest\ * | *\ all\ *) ;;
*) scenarios+=(all) ;;
esac

cargo build --release --locked --features bench
"${CARGO_TARGET_DIR:-target}/release/sysdig-scc-load" "${scenarios[@]}"
if $criterion; then cargo bench --locked --bench pipeline --bench attest; fi

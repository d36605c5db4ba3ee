#!/usr/bin/env bash
# Checks a change: types, style, one-way imports, unused code, the shim, all tests on Node 20 and 24,
# the bundle, the demo and a short soak. Then it runs the suites against real servers, which have 40 minutes
# together. A suite that does not run is a failure, unless the list below has its name and the reason.
# Each step prints at most 70,000 bytes. So the whole log stays under 2 MB.
# The last line is the number of tests: "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
# One suite a line: "cluster # there is no etcd for this platform".
may_be_skipped=''
suites_seconds=$((40 * 60))
output=$(mktemp)
trap 'rm -rf "$output"' EXIT
# The first 20,000 bytes as they come, and the last 50,000 at the end.
shorten() {
  head -c 20000
  tail -c 50000 | sed '1s/^/[from here on only the last 50,000 bytes]\n/'
}
step() {
  echo "== $*"
  "$@" 2>&1 | tee -a "$output" | shorten
  [ "${PIPESTATUS[0]}" = 0 ] || { failed=1; echo "FAILED: $*"; }
}

step make install
step make check
# The tests of the shim build it, so Go's standard library is compiled before them.
if command -v go >/dev/null; then
  step make shim
  step make shim-check
fi
step make test-node20
step make test-node24
step make demo

# The bundle needs only Node.
smoke() {
  local alone
  alone=$(mktemp -d)
  cp dist/keyferry.js "$alone/" && (cd "$alone" && node keyferry.js --version && node keyferry.js --help >/dev/null)
  local code=$?
  rm -rf "$alone"
  return $code
}
step smoke

# 40,000 pods fill every cache of the process; memory is flat after that.
step make soak PODS=40000 BENCH_NODE=node

not_run() {
  if grep -q "^$1 #" <<<"$may_be_skipped"; then
    echo "skipped: $1: $2"
  else
    failed=1
    echo "FAILED: $1 did not run: $2"
  fi
}

# Each suite builds its servers if they are not built yet, and reports what is missing.
step make e2e-packages
# Building Helm takes minutes on a new machine. It does not count as time of the suites.
command -v go >/dev/null && step make .tools/bin/helm
suites_end=$((SECONDS + suites_seconds))
for file in test/e2e/*.test.ts; do
  suite=$(basename "$file" .test.ts)
  left=$((suites_end - SECONDS))
  if [ "$left" -lt 60 ]; then
    not_run "$suite" 'the time is up'
    continue
  fi
  echo "== make e2e SUITE=$suite"
  log=$(mktemp -p "$(dirname "$output")")
  timeout --kill-after=10 "$left" make e2e SUITE="$file" 2>&1 | tee -a "$log" "$output" | shorten
  case ${PIPESTATUS[0]} in
    0) ;;
    124 | 137) not_run "$suite" 'it did not finish when the time was up' ;;
    *)
      failed=1
      echo "FAILED: $suite"
      ;;
  esac
  missing=$(grep -h '^SKIPPED' "$log" | head -1)
  [ -z "$missing" ] || not_run "$suite" "$missing"
  rm -f "$log"
done

count() { sed -nE "s/^Tests: .*[ ,]([0-9]+) $1.*/\1/p" "$output" | awk '{ sum += $1 } END { print sum + 0 }'; }
passed=$(count passed)
tests_failed=$(count failed)
if [ "$passed" = 0 ]; then
  failed=1
  echo "no test ran"
fi
[ "$failed" = 0 ] || [ "$tests_failed" != 0 ] || echo "the tests passed, but a step above failed"
echo "$passed passed, $tests_failed failed"
exit "$failed"

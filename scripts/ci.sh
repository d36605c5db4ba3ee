#!/usr/bin/env bash
# Checks a change: types, style, one-way imports, unused code, all tests, the bundle and the demo. Then
# it runs the suites against real servers, until the whole run has taken 25 minutes.
# The last line is the number of tests: "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
step() {
  echo "== $*"
  "$@" || { failed=1; echo "FAILED: $*"; }
}
output=$(mktemp)
trap 'rm -rf "$output"' EXIT
tested() { tee -a "$output"; }

step make install
step make check
make test 2>&1 | tested || failed=1
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

# Each suite builds its servers if they are not built yet, and reports what is missing.
make e2e-packages || echo "skipped: the Debian packages could not be installed"
for suite in test/e2e/*.test.ts; do
  left=$((24 * 60 - SECONDS))
  if [ "$left" -lt 60 ]; then
    echo "skipped: $suite, the time is up"
    continue
  fi
  echo "== make e2e SUITE=$suite"
  timeout --kill-after=10 "$left" make e2e SUITE="$suite" 2>&1 | tested
  case ${PIPESTATUS[0]} in
    0) ;;
    124 | 137) echo "skipped: $suite, not finished when the time was up" ;;
    *)
      failed=1
      echo "FAILED: $suite"
      ;;
  esac
done
grep -h '^SKIPPED' "$output"

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

#!/usr/bin/env bash
# pytest-benchmark 5.3.1: a gate against the last run, with saving, is red once and green when it is run again.
#
# Expected: `--benchmark-autosave --benchmark-compare --benchmark-compare-fail=mean:20%` fails until the step is as fast
# again as in the last good run. Seen: the run that fails the gate is saved before the gate is asked, and the next
# comparison is with it. The slow code fails once; the same command again passes, with the same code three times as
# slow. A user who retries a red job (or whose CI does, with the folder of results cached) concludes that the first was
# noise of the machine, and the slowdown is the norm from then on.
# What puts it right: compare with a named run, --benchmark-compare=0001, or save in a step of its own after the gate
# has passed.
# Versions: pytest-benchmark 5.3.1, pytest 9.2.0, CPython 3.11 to 3.13. Half a minute to two minutes, 4 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    pytest-benchmark==5.3.1 pytest==9.2.0 iniconfig==2.3.1 packaging==26.4 pluggy==1.7.0 pygments==2.21.0 \
    py-cpuinfo2==10.1.1
cd "$folder"

cat > test_step.py <<'PY'
import os
import time


def test_step(benchmark):
    benchmark.pedantic(time.sleep, args=(float(os.environ["SECONDS_A_STEP"]),), rounds=5)
PY
status() {  # seconds a step, options
    local code=0
    SECONDS_A_STEP=$1 "$folder/venv/bin/python" -m pytest -q --benchmark-autosave "${@:2}" > log 2>&1 || code=$?
    grep -ho "PerformanceRegression: .*" log >&2 || true
    echo "$code"
}
gate=--benchmark-compare-fail=mean:20%
good=$(status 0.1); slow=$(status 0.3 --benchmark-compare $gate); again=$(status 0.3 --benchmark-compare $gate)
named=$(status 0.3 --benchmark-compare=0001 $gate)
echo "exit status: 0.1 s a step $good, 0.3 s a step $slow, the same again $again, the same against the named run $named"
[ "$good" = 0 ] && [ "$slow" != 0 ] && [ "$named" != 0 ]
[ "$again" = 0 ] || { echo "the gate stays red now"; exit 1; }

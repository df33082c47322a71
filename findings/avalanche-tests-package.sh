#!/usr/bin/env bash
# avalanche-lib 0.6.0 installs a top-level package named `tests`.
#
# Expected: a project's own folder tests/ without __init__.py stays importable as the namespace package `tests` in its
# root, whatever is installed. Seen: `import tests` gives Avalanche's own test suite from site-packages, because a regular
# package there wins over a namespace package, even if the project's root comes first on the path. Helpers such as
# tests/helpers.py are then "No module named 'tests.helpers'". An __init__.py in the project's tests/ puts it right.
# Versions: avalanche-lib 0.6.0 (PyPI wheel), any CPython 3.11 to 3.13. Its dependencies are not needed to see it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps avalanche-lib==0.6.0
mkdir -p "$folder/project/tests"
echo 'ANSWER = 1' > "$folder/project/tests/helpers.py"
cd "$folder/project"

"$folder/venv/bin/python" - <<'PY'
import importlib.util
import sys

sys.path.insert(0, ".")
found = importlib.util.find_spec("tests")
print("tests is", "a package of site-packages" if found.origin and "site-packages" in found.origin else found)
assert found.origin and "site-packages" in found.origin, "avalanche-lib no longer shadows a project's tests"
assert importlib.util.find_spec("tests.helpers") is None
PY

touch tests/__init__.py
"$folder/venv/bin/python" -c 'import sys; sys.path.insert(0, "."); import tests.helpers; print("with __init__.py:", tests.helpers.ANSWER)'

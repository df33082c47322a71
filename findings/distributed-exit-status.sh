#!/usr/bin/env bash
# distributed 2026.8.0: an import that nothing uses turns a worker's exit status 3 into 0.
#
# Expected: `import distributed` changes nothing for a sweep in concurrent.futures' own process pool. A run that ends
# with sys.exit(3) arrives in the parent as SystemExit(3), and the program's exit status is 3. Seen: with the import in
# the run's module, the parent receives a SystemExit whose code is None, and the program's exit status is 0: a failed
# sweep is green. The import registers tblib's way of pickling for every class of exception in the process. That one
# makes the exception without its constructor. What a constructor sets in C is lost: the code of SystemExit, the value
# of StopIteration, file and line of SyntaxError, the text of UnicodeDecodeError. OSError keeps its errno, and
# attributes set in Python arrive. The repr, which shows the arguments, still says SystemExit(3). All else that imports
# distributed does the same, and so does tblib itself.
# What puts it right: import distributed only where a cluster is used, or catch SystemExit in the run and return its
# code, or read error.args in the parent.
# Versions: distributed 2026.8.0 with tblib 3.2.2, CPython 3.11 to 3.13. Half a minute to two minutes, 5 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    distributed==2026.8.0 dask==2026.8.0 tblib==3.2.2 click==8.5.1 cloudpickle==3.1.3 fsspec==2026.9.0 \
    importlib_metadata==10.2.0 jinja2==3.1.6 lazy-importer==0.1.0 locket==1.0.0 markupsafe==3.0.4 msgpack==1.2.4 \
    packaging==26.4 partd==1.4.2 psutil==7.2.2 pyyaml==6.0.4 sortedcontainers==2.4.0 toolz==1.2.0 \
    tornado==6.6.1 zict==3.0.0 zipp==4.1.2
cd "$folder"

cat > sweep.py <<'PY'
import sys
from concurrent.futures import ProcessPoolExecutor


def run(seed):
    sys.exit(3)  # as a command line does that finds its data missing


if __name__ == "__main__":
    with ProcessPoolExecutor(1) as pool:
        future = pool.submit(run, 0)
        error = future.exception()
        print(f"{error!r} with code {error.code}, arguments {error.args}")
        future.result()
PY
{ echo "import distributed"; cat sweep.py; } > with_import.py

status=0; "$folder/venv/bin/python" sweep.py || status=$?
echo "as it is: exit status $status"
[ "$status" = 3 ]
status=0; "$folder/venv/bin/python" with_import.py || status=$?
echo "with import distributed: exit status $status"
[ "$status" = 0 ] || { echo "the exit status survives the import now"; exit 1; }

# Every target sets up .venv first where it is missing; SEEDS, JOBS, DATA, ROWS and DEVICE narrow a run.

PYTHON := .venv/bin/python
READY := .venv/.ready
TABLES := $(wildcard paper_tables/*.toml)

# make hands a command its variables in the environment too: read there, no value is ever run as shell code.
quoted = '$(subst ','\'',$(1))'

# What is given and no target of the command reads would be ignored without a word: SEED=3, or ROWS for regress. A target
# reads the variables of its own lines, $${NAME. The environment's own, as NO_COLOR and TERM, are for other programs.
OTHERS := DATA PYTHON PROCESSES COLUMNS HOME LANG PATH SHELL TERM TMPDIR
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring _,$(name)),,$(if $(filter command,$(origin $(name))),$(name))))
GOALS := $(or $(MAKECMDGOALS),help)
READ = $(shell awk -v goals=$(call quoted,$(GOALS)) 'BEGIN { n = split(goals, goal, " ") } \
  /^[a-z% -]+:/ { mine = 0; sub(/:.*/, ""); m = split($$0, rule, " "); for (i = 1; i <= m; i++) { sub(/%/, ".*", rule[i]); \
    for (k = 1; k <= n; k++) if (goal[k] ~ "^" rule[i] "$$") mine = 1 } } \
  /^\t/ && mine { while (match($$0, /[$$][$$][{][A-Z]+/)) { \
    print substr($$0, RSTART + 3, RLENGTH - 3); $$0 = substr($$0, RSTART + RLENGTH) } }' Makefile)
UNREAD := $(filter-out $(OTHERS),$(if $(GIVEN),$(filter-out $(READ),$(GIVEN))))
$(if $(UNREAD),$(error $(GOALS): nothing reads $(UNREAD): the options are in `make help`))

.PHONY: help setup test test-docs lint format tables scoreboard judge report figures docs audit regress \
  mutants bench-train bench-start bench-fisher bench-sweep bench-device cluster-setup cluster-scheduler cluster-worker \
  figure-fisher figure-offline-ewc figure-tradeoff figure-landscape clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z% -]+:.*## / { printf "%-22s %s\n", $$1, $$2 }' Makefile
	@for table in $(TABLES); do name=$${table##*/}; \
	  printf '%-22s %s\n' "table-$${name%.toml}" "$$(sed -n 's/^title *= *"\(.*\)".*/\1/p' "$$table")"; done
	@echo 'Options: SEEDS=5 (1 to 5), SEEDS=3,7 SEEDS=7, SEEDS=3-9 or SEEDS=auto   JOBS=<processes>   DATA=<data root>   ROWS=<methods>   DEVICE=<device>   CLUSTER=tcp://HOST:PORT'
	@echo '         BESIDE=reference (the committed rows beside yours)   PLAN=1 (train nothing, say what there is to do)   TRACK=tensorboard (curves)'
	@echo '         FILE=<your runs as CSV for judge; the page for report>   RESULTS=<folder of records, for report and figures>   LIVE=1 (report follows a sweep)'

setup: $(READY) ## create .venv with the pinned packages (some gigabytes, once)

HANDBOOK := tests/test_pages.py tests/test_site.py tests/test_notebook.py
# One process more than there are cores, as some tests wait for what they have started.
PROCESSES = $$($(PYTHON) -c 'import os; print(min(os.cpu_count() + 1, 8))')
PYTEST = OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses $(PROCESSES) --dist loadfile

# A file of tests is done by one process, as its tests share what is costly. A process holds about 1 GB, so 8 are enough.
test: $(READY) ## run the tests of the code, on all cores; DATA=<root> adds those on real MNIST
	@$(PYTEST) $(HANDBOOK:%=--ignore=%)

test-docs: $(READY) ## run the code of the handbook and of the notebook, and look at the site in a browser
	@$(PYTEST) $(HANDBOOK)

lint: $(READY) ## check style and format
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

format: $(READY) ## put the code into the common format
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

table-%: $(READY) FORCE ## run what a table lacks, then print it and write it to results/local/tables
	@$(PYTHON) -m paper_tables table $(call quoted,$*) $${SEEDS:+--seeds "$$SEEDS"} $${JOBS:+--jobs "$$JOBS"} \
	  $${DATA:+--data "$$DATA"} $${ROWS:+--rows "$$ROWS"} $${BESIDE:+--beside "$$BESIDE"} \
	  $${DEVICE:+--device "$$DEVICE"} $${CLUSTER:+--cluster "$$CLUSTER"} $${TRACK:+--track "$$TRACK"} $${PLAN:+--plan}

tune-%: $(READY) FORCE ## search the options that a table declares as searched, on held-out training data
	@$(PYTHON) -m paper_tables tune $(call quoted,$*) $${JOBS:+--jobs "$$JOBS"} $${DATA:+--data "$$DATA"} \
	  $${DEVICE:+--device "$$DEVICE"} $${CLUSTER:+--cluster "$$CLUSTER"}

tables scoreboard: $(READY) ## render the committed reference records into results/tables, without training; print the state of all
	@$(PYTHON) -m paper_tables tables

judge: $(READY) ## judge the runs in FILE=<csv> (columns cell, seed, value) against the published numbers
	@$(PYTHON) -m paper_tables judge $${FILE:+-- "$$FILE"}

report: $(READY) ## write all tables, and what is behind each cell, as one HTML page; RESULTS=results/local shows your runs
	@$(PYTHON) -m paper_tables report $${RESULTS:+--results "$$RESULTS"} $${FILE:+--file "$$FILE"} $${LIVE:+--live}

figures: $(READY) ## draw curves, matrices, ranks and more of all tables, or of TABLE=<name>, into results/local/figures
	@$(PYTHON) -m paper_tables figures $${TABLE:+--table "$$TABLE"} $${RESULTS:+--results "$$RESULTS"}

docs: $(READY) ## build a searchable site of the handbook and the docstrings, to be opened from disk: results/local/site
	@$(PYTHON) -m docs.build

data-%: $(READY) FORCE ## fetch and verify a data set (mnist, fashionmnist, cifar10, cifar100)
	@$(PYTHON) -m paper_tables data $(call quoted,$*) $${DATA:+--data "$$DATA"}

regress: $(READY) ## run a table (TABLE=<name>, the digits by default) and compare it with its references
	@$(PYTHON) -m paper_tables regress $${TABLE:+--table "$$TABLE"} $${JOBS:+--jobs "$$JOBS"} $${DATA:+--data "$$DATA"} \
	  $${DEVICE:+--device "$$DEVICE"} $${CLUSTER:+--cluster "$$CLUSTER"} $${JUNIT:+--junit "$$JUNIT"} $${JSON:+--json "$$JSON"} \
	  $${REASON:+--accept --reason "$$REASON"}

mutants: $(READY) ## inject the bugs of tests/mutants.tsv, one at a time: which test and which tier of the gate sees them
	@$(PYTHON) -m tests.mutate $${MUTANTS:-}

# GLIBC_TUNABLES: with the pages of 2 MB that the processes of a sweep have (benchmarks/executors.py).
bench-train: $(READY) ## time a training step of each method as a ratio to a hand-written loop
	@GLIBC_TUNABLES="$${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}" $(PYTHON) -m benchmarks.timing.bench_train

bench-start: $(READY) ## time the way from the command to the first step and to the table, beside a script of Avalanche's
	@$(PYTHON) -m benchmarks.timing.bench_start

bench-sweep: $(READY) ## time a sweep's cost a run, in processes and on cluster workers of this machine; RUNS=<number>
	@$(PYTHON) -m benchmarks.timing.bench_sweep $${RUNS:+"$$RUNS"}

bench-device: $(READY) ## time steps of 1, 5, 10 and 20 seeds trained together on DEVICE=cuda, beside one on the CPU
	@$(PYTHON) -m benchmarks.timing.bench_device $${DEVICE:+"$$DEVICE"}

bench-fisher: $(READY) ## time the Fisher estimators, and compare them with other packages, where installed
	@$(PYTHON) -m pytest benchmarks/timing/bench_fisher.py --benchmark-storage=file://results/local/benchmarks \
	  --benchmark-autosave --benchmark-compare --benchmark-columns=min,median,iqr,rounds
	@$(PYTHON) -m benchmarks.timing.compare_fisher

# The lock is complete, and so is the list of the extra: nothing is resolved.
cluster-setup: $(READY) ## add to .venv what a cluster needs (docs/cluster.md)
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["cluster"], sep="\n")' \
	  | $(PYTHON) -m pip install --disable-pip-version-check --no-deps -r /dev/stdin

# Whoever reaches these ports can run code. So nothing listens beyond this machine unless LISTEN says so.
cluster-scheduler: $(READY) ## start a scheduler on tcp://127.0.0.1:8786; LISTEN=<address> PORT=<port>
	@DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 exec $(PYTHON) -m distributed.cli.dask_scheduler \
	  --host "$${LISTEN:-127.0.0.1}" --port "$${PORT:-8786}" --no-dashboard --dashboard-address 127.0.0.1:0

cluster-worker: $(READY) ## start JOBS=1 workers for CLUSTER=tcp://127.0.0.1:8786, with their own DATA=<root>; LISTEN=<address>
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 GLIBC_TUNABLES="$${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}" \
	  exec $(PYTHON) -m distributed.cli.dask_worker \
	  "$${CLUSTER:-tcp://127.0.0.1:8786}" --host "$${LISTEN:-127.0.0.1}" --nworkers "$${JOBS:-1}" --nthreads 1 \
	  --memory-limit 0 --death-timeout 60 --no-dashboard --dashboard-address 127.0.0.1:0

# Each library has an environment of its own, made on first use: about 100 MB in all. CapyMOA needs Java.
audit: $(READY) ## measure what other libraries compute under the names of the field; LIBS=avalanche,gmumcl
	@$(PYTHON) -m paper_tables audit $${LIBS:+--libs "$$LIBS"} $${JOBS:+--jobs "$$JOBS"}

figure-fisher: $(READY) ## draw the Fisher estimators beside the exact diagonal, on a network trained on MNIST
	@$(PYTHON) -m paper_tables figure fisher $${DATA:+--data "$$DATA"}

figure-offline-ewc: $(READY) ## draw four regression tasks learnt in turn: EWC by both Fishers, online EWC, SI and MAS
	@$(PYTHON) -m paper_tables figure offline-ewc $${JOBS:+--jobs "$$JOBS"}

figure-tradeoff: $(READY) ## draw forgetting against intransigence over twelve decades of strength, on the digits
	@$(PYTHON) -m paper_tables figure tradeoff $${JOBS:+--jobs "$$JOBS"} $${DATA:+--data "$$DATA"}

figure-landscape: $(READY) ## draw the error surfaces of two tasks of digits, and the paths of four methods (half a minute)
	@$(PYTHON) -m paper_tables figure landscape $${DATA:+--data "$$DATA"}

clean: ## remove your own runs (results/local) and the caches; data and .venv stay
	@rm -rf results/local .pytest_cache .ruff_cache .benchmarks
	@find . \( -path ./.venv -o -path ./data -o -path ./.git \) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# .ready is touched last: a set-up that was interrupted is taken up again by the next command.
# The lock is complete. With dependencies, pip would also ask for what pyproject.toml leaves out of it.
$(READY): requirements.lock
	@for python in .venv/bin/python python3.13 python3.12 python3.11 python3.14 python3 ''; do \
	  test -n "$$python" || { echo 'Python 3.11, 3.12, 3.13 or 3.14 with its venv module is needed (tried python3.13, python3.12,' \
	    'python3.11, python3.14 and python3): install one, and run the command again' >&2; exit 1; }; \
	  "$$python" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && break; \
	done; \
	echo "Setting up .venv with $$python: takes about 5.4 GB and some minutes, once."; \
	"$$python" -m venv .venv
	@$(PYTHON) -m pip install --disable-pip-version-check --no-deps -r requirements.lock
	@touch $(READY)

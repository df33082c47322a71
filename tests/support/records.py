"""Records of runs that nobody did, for the tests of what is made of records."""

from benchmarks import data, record
from benchmarks.record import Record
from benchmarks.standard_sets import DEFAULT_ROOT

MADE_BY = {"versions": {"torch": "1"}, "machine": {"device": "cpu"}, "digest": "e"}  # what a fake record needs


def kept(run, folder, right=(90, 270), **fields):
    """Save the record of a run of two tasks that ends with these counts, of 100 and 300. Return its file."""
    values = {
        "schema": record.SCHEMA,
        "run": run,
        "reason": None,
        "correct": [[50, 150], [50, 150], list(right)],
        "total": [100, 300],
        "n_parameters": 8,
        "seeds": {"init": 1},
        "seconds": {"training": 3.0, "importance": 1.0},
        "peak_memory_mb": 1.0,
        "versions": {"torch": "1"},
        "machine": {"cpu": "a chip", "device": "cpu", "threads": 1},
        "commit": "c0ffee",
        "data": data.fingerprint("digits", DEFAULT_ROOT),
        "digest": run.digest,
    }
    record.save(Record(**values | fields), folder / run.place)
    return folder / run.place

"""The benchmark of sweeps does its runs by the sweep's own parts."""

from benchmarks.timing import bench_sweep
from tests.support.sweeps import Inline


def test_a_line_for_each_number_of_runs(tmp_path):
    lines = bench_sweep.measure(Inline(1), "inline", 1, [1, 2], tmp_path, print)
    assert [line[:2] for line in lines] == [["1 inline", "1"], ["1 inline", "2"]]
    assert all(float(line[2]) > 0 for line in lines)
    assert len(list(tmp_path.glob("2/*/*/*.json"))) == 2

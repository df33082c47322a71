"""Entries for packages of Fisher diagonals: the same networks for all."""

from collections.abc import Callable

from torch import Tensor

from benchmarks.audit.base.problem import Case
from benchmarks.audit.base.quantities import NETS, QUANTITIES


def entries(
    kind: str, total: Callable[[Case, int], Tensor], where: str, said: dict[str, tuple[str, str]], without=()
) -> dict[str, tuple[Callable, str, str, str]]:
    """Return the entries of one estimator. total(case, batch): the sum over examples [P].

    `said` has claim and words by network, where the answer is not exact. `without`: networks with options that the
    package does not take.
    """

    def of(net: str) -> Callable:
        def mean(problem, batch):
            case = problem.net(net)
            return total(case, batch) / case.counted

        return mean

    nets = [net for net in NETS if f"{kind}_{net}" in QUANTITIES and net not in without]
    return {f"{kind}_{net}": (of(net), *said.get(net, ("exact", "")), where) for net in nets}

"""The columns of the audit: each quantity has a name, a heading, and the cases in which a library computes it.

A case is a set of arguments of the library's function. `batch` runs over batch sizes that change nothing in a
definition. `lam` is the problem's strength; 0 and 1e6 show whether the strength has any effect at all.
"""

from dataclasses import dataclass

LAM, NO, HUGE = 5.0, 0.0, 1e6  # the problem's strength, and the two that must differ
BATCHES = ({"batch": 1}, {"batch": 8}, {"batch": 64})
STRENGTHS = ({"lam": LAM}, {"lam": NO}, {"lam": HUGE})
NETS = {
    "plain": "plain",
    "masked": "units masked",
    "weighted": "class weights",
    "ignored": "ignored labels",
    "shared": "shared weights",
    "tokens": "sequences",
    "circular": "circular padding",
}


@dataclass(frozen=True)
class Quantity:
    """A column. A penalty is a value, which moves no weight, and its gradient.

    `tolerance` is the relative error of an exact answer: float32's rounding, or that of a mean over draws.
    """

    title: str
    group: str
    cases: tuple[dict, ...] = ({},)
    tolerance: float = 1e-5
    penalty: bool = False


METHODS, METRICS, FISHERS = "methods", "metrics", "Fisher diagonals"
QUANTITIES = {
    "fisher": Quantity("Fisher diagonal", METHODS, BATCHES),
    "ewc_2": Quantity("EWC, 2 tasks", METHODS, STRENGTHS, penalty=True),
    "ewc_3": Quantity("EWC, 3 tasks", METHODS, STRENGTHS, penalty=True),
    "online_ewc": Quantity("online EWC", METHODS, STRENGTHS, penalty=True),
    "ewc_step": Quantity("EWC step by preset", METHODS),
    "si_path": Quantity("SI path integral", METHODS),
    "si_importance": Quantity("SI importance", METHODS),
    "si_step": Quantity("SI step by preset", METHODS),
    "mas": Quantity("MAS importance", METHODS, BATCHES),
    "mas_2": Quantity("MAS, 2 tasks", METHODS),
    "rwalk_fisher": Quantity("RWalk Fisher", METHODS),
    "rwalk_score": Quantity("RWalk score", METHODS),
    "lwf": Quantity("LwF gradient", METHODS, STRENGTHS),
    "gem": Quantity("GEM step", METHODS),
    "agem": Quantity("A-GEM step", METHODS),
    "replay": Quantity("replay buffer", METHODS, tolerance=0.03),
    "vae_deviation": Quantity("VAE deviation", METHODS, tolerance=0.01),
    "average_accuracy": Quantity("average accuracy", METRICS),
    "micro_accuracy": Quantity("micro accuracy", METRICS),
    "bwt": Quantity("backward transfer", METRICS),
    "fwt": Quantity("forward transfer", METRICS),
    "forgetting": Quantity("forgetting", METRICS),
    "incremental_accuracy": Quantity("incremental accuracy", METRICS),
} | {
    f"{kind}_{net}": Quantity(f"{kind}: {title}", FISHERS, BATCHES)
    for kind in ("empirical", "exact")
    for net, title in NETS.items()
}

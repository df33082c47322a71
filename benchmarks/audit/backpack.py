"""BackPACK: two of its quantities, for a loss that is a sum."""

from benchmarks.audit.base.fishers import entries
from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import flat


def total(extension, attribute):
    def of(case, batch):
        from backpack import backpack, extend, extensions

        module, loss, found = extend(case.module), extend(case.loss("sum")), 0
        for x, y in case.batches(batch):
            with backpack(getattr(extensions, extension)()):
                loss(module(x), y).backward()
            found = found + flat(getattr(p, attribute) for p in module.parameters())
        return found

    return of


FIRST, SECOND = "extensions/firstorder/sum_grad_squared", "extensions/secondorder/diag_ggn"
said = {
    "shared": ("refused", "a layer that is used twice"),
    "circular": ("another quantity", "taken for zero padding"),
}
second = said | {
    "masked": ("refused", "no rule for a module of one's own"),
    "weighted": ("refused", "no class weights"),
    "ignored": ("another quantity", "ignored examples count"),
    "tokens": ("refused", "no rule for a module of one's own"),
}
library = Library(
    "backpack-for-pytorch",
    "BackPACK",
    entries("empirical", total("SumGradSquared", "sum_grad_squared"), FIRST, said)
    | entries("exact", total("DiagGGNExact", "diag_ggn_exact"), SECOND, second),
)

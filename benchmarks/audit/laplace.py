"""laplace-torch: its curvature backends on asdl. They take a cross entropy without options."""

from benchmarks.audit.base.fishers import entries
from benchmarks.audit.base.library import Library


def total(backend):
    def of(case, batch):
        from laplace.curvature import asdl

        curvature = getattr(asdl, backend)(case.module, "classification")
        return sum(curvature.diag(x, y)[1].double() for x, y in case.batches(batch))

    return of


FILE, WITHOUT = "curvature/asdl.py", ("weighted", "ignored")
said = {
    "shared": ("another quantity", "each use squared by itself"),
    "tokens": ("another quantity", "each position squared by itself"),
    "circular": ("another quantity", "taken for zero padding"),
}
library = Library(
    "laplace-torch",
    "laplace (asdl)",
    entries("empirical", total("AsdlEF"), FILE, said, WITHOUT)
    | entries("exact", total("AsdlGGN"), FILE, said, WITHOUT),
)

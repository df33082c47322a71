"""Here Fisher diagonals by plain autograd and by other packages are functions that a benchmark or test can call.

`PEERS[label].build(module, x, y)` takes a module with logits [N, C], inputs [N, ...] and labels [N]. It returns a
function of no arguments. That function gives a diagonal [P], a mean over the N examples, in the order of
`named_parameters()`. A user builds once, so building is not timed. Data goes through in batches of 128. Hutchinson's
estimate goes through 10 products with the matrix.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

BATCH, CHUNK, PRODUCTS = 128, 8, 10


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Join the tensors to one vector [P]."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def batches(x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the batches in order, as views."""
    return list(zip(x.split(BATCH), y.split(BATCH), strict=True))


def loop(module, x, y):
    """Make a backward pass for each example."""
    parameters = list(module.parameters())

    def diagonal():
        total = [torch.zeros_like(p) for p in parameters]
        for x_n, y_n in zip(x.split(1), y.split(1), strict=True):
            for sums, G in zip(total, torch.autograd.grad(F.cross_entropy(module(x_n), y_n), parameters), strict=True):
                sums += G**2
        return flat(total) / len(x)

    return diagonal


def loop_over_classes(module, x, y):
    """Make a backward pass for each example and class."""
    parameters = list(module.parameters())

    def diagonal():
        total = [torch.zeros_like(p) for p in parameters]
        for x_n in x.split(1):
            log_p = module(x_n).log_softmax(1)[0]
            for each in log_p:
                found = torch.autograd.grad(each, parameters, retain_graph=True)
                for sums, G in zip(total, found, strict=True):
                    sums += each.detach().exp() * G**2
        return flat(total) / len(x)

    return diagonal


def vmap_grad(module, x, y):
    """Use torch.func on a few examples at a time. The gradients of more of them fall out of the caches."""
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def loss(parameters, x_n, y_n):
        return F.cross_entropy(torch.func.functional_call(module, parameters, (x_n[None],)), y_n[None])

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))

    def diagonal():
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        for some_x, some_y in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
            for name, G in gradients(parameters, some_x, some_y).items():
                total[name] += G.square().sum(0)
        return flat(total.values()) / len(x)

    return diagonal


def avalanche_ewc(module, x, y):
    """Use the importance of the EWC plugin."""
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset
    from avalanche.training.plugins import EWCPlugin

    data = _make_taskaware_classification_dataset(TensorDataset(x, y), targets=y.tolist(), task_labels=0)
    plugin, optimizer = EWCPlugin(1.0), torch.optim.SGD(module.parameters(), lr=0.1)

    def diagonal():
        found = plugin.compute_importances(module, nn.CrossEntropyLoss(), optimizer, data, torch.device("cpu"), BATCH)
        return flat(importance.data for importance in found.values())

    return diagonal


def backpack(extension: str, attribute: str) -> Callable:
    """Use one of BackPACK's quantities."""

    def build(module, x, y):
        from backpack import backpack, extend, extensions

        module, loss = extend(module), extend(nn.CrossEntropyLoss(reduction="sum"))

        def diagonal():
            total = 0
            for some_x, some_y in batches(x, y):
                with backpack(getattr(extensions, extension)()):
                    loss(module(some_x), some_y).backward()
                total = total + flat(getattr(p, attribute) for p in module.parameters())
            return total / len(x)

        return diagonal

    return build


class Rows(TensorDataset):
    """Take a whole batch at a time. The loader would stack single examples."""

    def __getitems__(self, rows):
        return self[rows]


def nngeometry(function: str) -> Callable:
    """Use one of NNGeometry's metrics, as a diagonal."""

    def build(module, x, y):
        from nngeometry import metrics
        from nngeometry.object import PMatDiag

        loader = DataLoader(Rows(x, y), BATCH, collate_fn=lambda batch: batch)
        return lambda: getattr(metrics, function)(module, loader, PMatDiag).get_diag()

    return build


def laplace(backend: str, **options) -> Callable:
    """Use a curvature backend of laplace-torch on asdl."""

    def build(module, x, y):
        from laplace.curvature import asdl

        curvature = getattr(asdl, backend)(module, "classification", **options)
        return lambda: sum(curvature.diag(*batch)[1] for batch in batches(x, y)) / len(x)

    return build


def opacus(module, x, y):
    """Square the gradients that Opacus would clip."""
    from opacus import GradSampleModule

    module = GradSampleModule(module.train(), loss_reduction="sum")  # it needs training mode

    def diagonal():
        total = 0
        for some_x, some_y in batches(x, y):
            F.cross_entropy(module(some_x), some_y, reduction="sum").backward()
            total = total + flat(p.grad_sample.square().sum(0) for p in module.parameters())
            module.zero_grad()
        return total / len(x)

    return diagonal


def operator(kind: str, module: nn.Module, x: Tensor, y: Tensor):
    """Return a matrix of curvlinops."""
    import curvlinops

    data = nn.CrossEntropyLoss(), list(module.parameters()), batches(x, y)
    return getattr(curvlinops, kind)(module, *data, check_deterministic=False)


def curvlinops(kind: str) -> Callable:
    """Use Hutchinson's estimate of a matrix's diagonal."""

    def build(module, x, y):
        from curvlinops import hutchinson_diag

        matrix = operator(kind, module, x, y)
        return lambda: hutchinson_diag(matrix, PRODUCTS).detach()

    return build


@dataclass(frozen=True)
class Peer:
    """`of` names the estimator (importance/fisher.py) that the peer gives or, as `note` says, estimates or replaces."""

    package: str  # has to be installed
    of: str
    builder: Callable
    note: str = ""
    slow: bool = False

    def build(self, module: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
        """Build the peer on a copy of the module, because it hooks or changes the module."""
        return self.builder(deepcopy(module), x, y)


DRAW, MEANS, HUTCHINSON = "one draw", "of batch means", f"{PRODUCTS} products"
BACKPACK, LAPLACE, CURVLINOPS = "backpack-for-pytorch", "laplace-torch", "curvlinops-for-pytorch"
PEERS = {
    "vmap(grad)": Peer("torch", "empirical", vmap_grad),
    "loop, batch of one": Peer("torch", "empirical", loop, slow=True),
    "loop over classes, batch of one": Peer("torch", "exact", loop_over_classes, slow=True),
    "Avalanche EWC": Peer("avalanche-lib", "empirical", avalanche_ewc, MEANS),
    "BackPACK SumGradSquared": Peer(BACKPACK, "empirical", backpack("SumGradSquared", "sum_grad_squared")),
    "BackPACK DiagGGNExact": Peer(BACKPACK, "exact", backpack("DiagGGNExact", "diag_ggn_exact")),
    "BackPACK DiagGGNMC": Peer(BACKPACK, "exact", backpack("DiagGGNMC", "diag_ggn_mc"), DRAW),
    "NNGeometry FIM": Peer("nngeometry", "exact", nngeometry("FIM")),
    "NNGeometry FIM_MonteCarlo": Peer("nngeometry", "exact", nngeometry("FIM_MonteCarlo"), DRAW),
    "laplace AsdlEF": Peer(LAPLACE, "empirical", laplace("AsdlEF")),
    "laplace AsdlGGN": Peer(LAPLACE, "exact", laplace("AsdlGGN")),
    "laplace AsdlGGN, stochastic": Peer(LAPLACE, "exact", laplace("AsdlGGN", stochastic=True), DRAW),
    "Opacus GradSampleModule": Peer("opacus", "empirical", opacus, slow=True),
    "curvlinops EF": Peer(CURVLINOPS, "empirical", curvlinops("EFLinearOperator"), HUTCHINSON, slow=True),
    "curvlinops GGN": Peer(CURVLINOPS, "exact", curvlinops("GGNLinearOperator"), HUTCHINSON, slow=True),
}

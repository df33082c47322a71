"""A network as a function of one vector: logits = net(theta, x).

theta [..., P] holds every trainable parameter once, in the order of `named_parameters()`; tied parameters appear once
and their gradient is the sum over their uses. `[P]` is one network, `[R, P]` is R replicas, and this is the only file
that looks at the difference.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call


class Net:
    """A module seen as a function of its trainable parameters; its buffers stay with the module."""

    def __init__(self, module: nn.Module):
        self.module = module
        self._modules = list(module.modules())
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not parameters:
            raise ValueError("the network has no trainable parameter: nothing can be learnt")
        self.shapes = {name: p.shape for name, p in parameters.items()}
        self.sizes = [p.numel() for p in parameters.values()]
        self.n_parameters = sum(self.sizes)  # P

    def vector(self) -> Tensor:
        """The module's own parameters as theta [P]."""
        parameters = dict(self.module.named_parameters())
        return torch.cat([parameters[name].detach().flatten() for name in self.shapes])

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Parameter tensors [..., *shape] by name, as views of theta [..., P]."""
        lead = theta.shape[:-1]
        pieces = theta.split(self.sizes, dim=-1)  # one split, not slices: its backward is one concatenation
        named = zip(pieces, self.shapes.items(), strict=True)
        return {name: piece.view(*lead, *shape) for piece, (name, shape) in named}

    def __call__(self, theta: Tensor, x: Tensor, train: bool = False) -> Tensor:
        """Logits [..., N, C] for theta [..., P], inputs [..., N, *shape]; `train` turns dropout and batch norm on."""
        others = [module for module in self._modules if module.training != train]
        for module in others:
            module.training = train
        try:
            if theta.dim() == 1:
                return self._one(theta, x)
            return torch.vmap(self._one, randomness="different")(theta, x)
        finally:
            for module in others:
                module.training = not train

    def _one(self, theta: Tensor, x: Tensor) -> Tensor:
        return functional_call(self.module, self.views(theta), (x,))

"""A variational autoencoder is a function of one vector (Kingma and Welling, 2014).

    q(z | x) = N(mu, diag exp(logvar))     mu, logvar: two linear heads of the trunk's features of x
    z        = mu + exp(logvar / 2) eps    eps ~ N(0, I)
    L(x)     = recon(x, xhat) + KL / D     xhat: the decoder's image of z; D: pixels
    KL       = 1/2 sum_j (mu_j^2 + exp(logvar_j) - 1 - logvar_j)      KL(q(z | x) || N(0, I))

recon is a mean over pixels, so D L is the negative ELBO: its -log p(x | z) is the sum

    bce       - x log s - (1 - x) log(1 - s)     s = sigmoid(xhat), for pixels in [0, 1]
    squared   1/2 (x - xhat)^2                   for any pixels; without its constant

An image is drawn by decoding z ~ N(0, I). With `bce` it is s, so it lies in [0, 1].

phi [Q] holds the parameters of the trunk (ReLU layers), the two heads, and the decoder (ReLU layers and a linear one).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

RECONSTRUCTIONS = ("bce", "squared")


class VAE:
    """Model images of `shape`. The trunk has layers of these widths on `n_inputs` numbers, and may have none."""

    def __init__(
        self,
        n_inputs: int,
        trunk: tuple[int, ...],
        z: int,
        decoder: tuple[int, ...],
        shape: tuple[int, ...],
        recon: str = "bce",
        logvar_bias: bool = True,
    ):
        self.z, self.shape, self.recon = z, shape, recon
        self.D = torch.Size(shape).numel()
        ends = [n_inputs, *trunk], [z, *decoder, self.D]
        below, above = ([(out, size) for size, out in pairwise(widths)] for widths in ends)
        heads = [(z, ends[0][-1])] * 2
        biased = [True] * (len(below) + 1) + [logvar_bias] + [True] * len(above)
        self.n_trunk = len(below)
        self.layers = list(zip([*below, *heads, *above], biased, strict=True))  # (outputs, inputs); has it a bias?
        self.sizes = [n for (out, size), bias in self.layers for n in (out * size, out if bias else 0)]
        self.n_parameters = sum(self.sizes)  # Q

    def initial(self, draws: torch.Generator, dtype: torch.dtype) -> Tensor:
        """Return phi [Q] as PyTorch initialises linear layers: uniform within 1 / sqrt(inputs)."""
        bounds = [size**-0.5 for (_, size), _ in self.layers for _ in (0, 1)]
        uniform = [torch.rand(n, generator=draws, dtype=dtype) for n in self.sizes]
        return torch.cat([(2 * u - 1) * bound for u, bound in zip(uniform, bounds, strict=True)])

    def decode(self, phi: Tensor, z: Tensor) -> Tensor:
        """Return xhat [N, D] of z [N, Z], before the sigmoid of `bce`."""
        return self._decode(self._views(phi), z)

    def losses(self, phi: Tensor, inputs: Tensor, x: Tensor, eps: Tensor) -> Tensor:
        """Return L [N] of images x [N, *shape] from the trunk's inputs [N, n_inputs] and eps [N, Z]."""
        views = self._views(phi)
        mu, logvar = self._encode(views, inputs)
        xhat, x = self._decode(views, mu + (logvar / 2).exp() * eps), x.flatten(1)
        if self.recon == "bce":
            recon = F.binary_cross_entropy_with_logits(xhat, x, reduction="none")
        else:
            recon = (x - xhat).square() / 2
        KL = (mu.square() + logvar.exp() - 1 - logvar).sum(-1) / 2
        return recon.mean(-1) + KL / self.D

    @torch.no_grad()
    def sample(self, phi: Tensor, z: Tensor) -> Tensor:
        """Return the images [N, *shape] of z [N, Z] ~ N(0, I)."""
        xhat = self.decode(phi, z)
        return (xhat.sigmoid_() if self.recon == "bce" else xhat).view(-1, *self.shape)

    def _views(self, phi: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Return weight and bias of each layer, as views of phi."""
        pieces = phi.split(self.sizes)
        pairs = zip(self.layers, pieces[::2], pieces[1::2], strict=True)
        return [(weight.view(shape), bias if biased else None) for (shape, biased), weight, bias in pairs]

    def _encode(self, views: list, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar [N, Z] of the trunk's inputs x [N, n_inputs]."""
        for layer in views[: self.n_trunk]:
            x = F.linear(x, *layer).relu_()
        mu, logvar = views[self.n_trunk : self.n_trunk + 2]
        return F.linear(x, *mu), F.linear(x, *logvar)

    def _decode(self, views: list, z: Tensor) -> Tensor:
        *hidden, last = views[self.n_trunk + 2 :]
        for layer in hidden:
            z = F.linear(z, *layer).relu_()
        return F.linear(z, *last)

"""Generative replay: images of earlier tasks are drawn from a copy of the generator, their targets from its classifier.

    L = 1/k L(new) + (1 - 1/k) L_replay(images)      k: tasks so far; new and images have the same size

The copies of classifier and generator are made after each task. The generator is a VAE (methods/generative/vae.py) and
is trained by the same rule. Its parameters stand behind those of the network in one vector, and its loss is added.
Under an elementwise optimiser this is two networks with an optimiser each.

Targets of the old units, from the outputs v of the old classifier; z are those of the network in training:

    hard      cross entropy with arg max_c v_c
    soft      KD = - sum_c softmax(v / T)_c log softmax(z / T)_c     `sum`; times T^2: `sum_T2`
              the mean over c in place of the sum, times T^2         `mean_T2`

In task-IL each old head has a loss, and these are averaged. Every image goes through all old heads. With `own_images`
each head has ceil(B / (k - 1)) images of its own. Where tasks share units, the old units are those that the task before
could use. The softmax of z is over all units in use, and the softmax of v gives the others 0.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base.errors import UserError
from methods.base.examples import Examples
from methods.base.method import Method, cross_entropy
from methods.base.options import Count, Positive
from methods.generative.vae import RECONSTRUCTIONS, VAE
from methods.memory.distillation import by_head, distillation, kept_heads
from methods.memory.teacher import Teacher


def together(x: Tensor, images: Tensor | None) -> Tensor:
    """Return new examples [B, ...] and replayed images [M, ...], if there are any, as one batch."""
    return x if images is None else torch.cat([x, images])


class WithGenerator:
    """Present a network whose vector goes on with the parameters phi of a generator: theta = (own [P], phi [Q])."""

    def __init__(self, net, vae: VAE):
        self.net, self.vae, self.module = net, vae, net.module
        self.n_parameters = net.n_parameters + vae.n_parameters

    def split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's own parameters and those of the generator."""
        return theta.split([self.net.n_parameters, self.vae.n_parameters])

    def __call__(self, theta: Tensor, x: Tensor, train: bool = False) -> Tensor:
        """Return the logits [N, C]."""
        return self.net(self.split(theta)[0], x, train)


@dataclass
class GenerativeReplay(Method):
    """hidden: widths of the generator's layers, from the image to z. z: size of the latent vector.

    recon: what the generator makes of pixels. logvar_bias: whether the head of logvar has a bias. T, KD: of soft
    targets, which hard ones do without. own_images: see above.
    """

    hidden: tuple[Count, ...] = (400, 400)
    z: Count = 100
    recon: Literal[*RECONSTRUCTIONS] = "bce"
    logvar_bias: bool = True
    T: Positive = 2.0
    KD: Literal["sum", "sum_T2", "mean_T2"] = "sum_T2"
    own_images: bool = False

    stacks: ClassVar[bool] = False

    def make_vae(self, shape: tuple[int, ...], n_features: int) -> VAE:
        """Return the generator of images of `shape` for a network with so many features."""
        raise NotImplementedError

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.made_for: tuple[tuple[int, ...], int] | None = None  # shape of an image, features of the network
        self.heads: list[Tensor] = []  # the units of each old head
        self.old: Tensor | None = None  # theta after the last task
        self.teacher = None

    def grow(self, net, theta, task):
        if self.made_for:
            return net, theta
        x = task.train.take(torch.arange(1, device=theta.device))[0]
        with torch.no_grad():
            features = net.features(theta, x)
        if features.dim() > 2:
            name, shape = type(self).__name__, tuple(features.shape[1:])
            raise UserError(f"{name} needs features that are vectors, got {shape}: flatten them before the last layer")
        self.made_for = tuple(x.shape[1:]), features.shape[-1]
        vae = self.make_vae(*self.made_for)
        (draws,) = self.generators("generator", theta, task)
        return WithGenerator(net, vae), torch.cat([theta, vae.initial(draws, theta.dtype).to(theta.device)])

    def restore(self, state):
        super().restore(state)
        if self.made_for and not isinstance(self.net, WithGenerator):
            self.net = WithGenerator(self.net, self.make_vae(*self.made_for))

    def before_task(self, theta, task):
        if self.recon == "bce":
            self._check_pixels(task.train)
        self.k, self.own_units, self.in_use = task.index + 1, task.own_units, task.units
        (self.draws,), (self.eps,) = (self.generators(role, theta, task) for role in ("replay", "latent"))
        self.teacher = None if self.old is None else Teacher(self.net, self.old, None)
        return task

    def after_task(self, theta, task):
        self.heads = kept_heads(self.heads, task)
        self.old, self.teacher = theta.clone(), None

    def images(self, n: int, draws: torch.Generator) -> Tensor | None:
        """Return n images (or more, as many for each old head) of the old generator. None: there is none yet."""
        if self.old is None:
            return None
        if self.own_images:
            n = len(self.heads) * -(-n // len(self.heads))
        return self.net.vae.sample(self.net.split(self.old)[1], self._normal(n, draws, self.old))

    def classifier_loss(self, logits: Tensor, y: Tensor, mask: Tensor, images: Tensor | None) -> Tensor:
        """Return the loss of the logits [B + M, C] of B new examples and M images."""
        new = cross_entropy(logits[: len(y)] + mask, y)
        if images is None:
            return new
        return new / self.k + (1 - 1 / self.k) * self._replay_loss(logits[len(y) :], self.teacher.outputs(images))

    def generator_loss(self, phi: Tensor, inputs: Tensor, x: Tensor, n: int) -> Tensor:
        """Return the loss of x [n + M, *shape], of which the first n are new, with these inputs of the trunk."""
        losses = self.net.vae.losses(phi, inputs, x, self._normal(len(x), self.eps, x))
        if len(losses) == n:
            return losses.mean()
        return losses[:n].mean() / self.k + (1 - 1 / self.k) * losses[n:].mean()

    def compare(self, z: Tensor, v: Tensor) -> Tensor:
        """Return the loss of outputs z under targets v, both [M, C']."""
        scale = {"sum": 1, "sum_T2": self.T**2, "mean_T2": self.T**2 / z.shape[-1]}[self.KD]
        return scale * distillation(z, v, self.T)

    def _replay_loss(self, z: Tensor, v: Tensor) -> Tensor:
        pairs = by_head(z, v, self.heads, None if self.own_units else self.in_use)
        if self.own_images:
            pairs = [(z.chunk(len(pairs))[n], v.chunk(len(pairs))[n]) for n, (z, v) in enumerate(pairs)]
        return sum(self.compare(z, v) for z, v in pairs) / len(pairs)

    def _normal(self, n: int, draws: torch.Generator, like: Tensor) -> Tensor:
        return torch.randn(n, self.z, generator=draws, dtype=like.dtype).to(like.device)

    def _check_pixels(self, examples: Examples) -> None:
        bounds = [(float(x.min()), float(x.max())) for x, _, _ in examples.batches()]
        low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
        if low < 0 or high > 1:
            raise UserError(
                f"recon = 'bce' needs pixels in [0, 1], got {low:.3g} to {high:.3g}: leave mean and std out of the "
                "stream, or take recon = 'squared'"
            )

"""Generative replay a second time: modules, an optimiser each, one image at a time, one phase after the other."""

import math
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from benchmarks.learner import OPTIMIZERS
from methods.base.rng import generator
from tests.support.slow import listed, mean_loss, orders


class SlowVAE(nn.Module):
    """The layers in the order of phi. Without a trunk the features of a classifier are what it encodes."""

    def __init__(self, n_inputs, trunk, z, decoder, D, recon, logvar_bias, draws):
        super().__init__()
        self.trunk = nn.ModuleList(nn.Linear(*pair) for pair in pairwise([n_inputs, *trunk]))
        below = [n_inputs, *trunk][-1]
        self.mu, self.logvar = nn.Linear(below, z), nn.Linear(below, z, bias=logvar_bias)
        self.decoder = nn.ModuleList(nn.Linear(*pair) for pair in pairwise([z, *decoder, D]))
        self.recon, self.z = recon, z
        self.double()
        for layer in [*self.trunk, self.mu, self.logvar, *self.decoder]:
            bound = 1 / layer.in_features**0.5
            for p in layer.parameters():
                p.data = (torch.rand(p.numel(), generator=draws, dtype=p.dtype).view(p.shape) * 2 - 1) * bound

    def decode(self, z: Tensor) -> Tensor:
        for layer in self.decoder[:-1]:
            z = layer(z).clamp(min=0)
        return self.decoder[-1](z)

    def loss(self, h: Tensor, x: Tensor, eps: Tensor) -> Tensor:
        """The negative ELBO of one image, divided by its pixels, without the constant of a normal density."""
        for layer in self.trunk:
            h = layer(h).clamp(min=0)
        mu, sigma = self.mu(h), torch.sqrt(torch.exp(self.logvar(h)))
        xhat = self.decode(mu + sigma * eps)
        if self.recon == "bce":
            fit = Bernoulli(logits=xhat, validate_args=False).log_prob(x).sum()
        else:
            fit = Normal(xhat, 1.0).log_prob(x).sum() + len(x) / 2 * math.log(2 * math.pi)
        KL = kl_divergence(Normal(mu, sigma), Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum()
        return (KL - fit) / len(x)

    def draw(self, n: int, draws: torch.Generator, shape) -> list[Tensor]:
        """Images, from n draws of z ~ N(0, I)."""
        with torch.no_grad():
            found = [self.decode(z) for z in torch.randn(n, self.z, generator=draws, dtype=torch.float64)]
        found = [1 / (1 + (-x).exp()) for x in found] if self.recon == "bce" else found
        return [x.view(shape) for x in found]


class Replayer:
    """What both methods share: the copies, the images, the targets and the weights."""

    def __init__(self, stream, classifier, vae, KD, T, own_images, distill):
        self.stream, self.classifier, self.vae = stream, classifier, vae
        self.KD, self.T, self.own_images, self.distill = KD, T, own_images, distill
        self.old = None

    def begin(self, task):
        self.k, self.task = task.index + 1, task
        self.new = listed(task.train)
        owned = [sorted({y for _, y, _ in listed(each.train)}) for each in self.stream.tasks[: self.k]]
        if self.stream.scenario == "task":
            self.heads, self.in_use = owned[:-1], None
        elif self.stream.scenario == "domain":
            self.heads = [[0, 1]]
            self.in_use = [0, 1]
        else:
            self.in_use = [unit for units in owned for unit in units]
            self.heads = [[unit for units in owned[:-1] for unit in units]]

    def end(self):
        self.old = deepcopy(self.classifier), deepcopy(self.vae)

    def images(self, n, draws):
        if self.old is None:
            return []
        if self.own_images and self.stream.scenario == "task":
            n = sum(-(-n // len(self.heads)) for _ in self.heads)
        return self.old[1].draw(n, draws, self.new[0][0].shape)

    def weighted(self, new, old):
        return 1 / self.k * new + ((1 - 1 / self.k) * old if self.old else 0)

    def classify(self, batch, images):
        return self.weighted(mean_loss(self.classifier, batch), self._old_loss(images))

    def generate(self, new, images, draws, features=lambda x: x.flatten()):
        eps = torch.randn(len(new) + len(images), self.vae.z, generator=draws, dtype=torch.float64)
        losses = [self.vae.loss(features(x), x.flatten(), e) for x, e in zip([*new, *images], eps, strict=True)]
        n = len(new)
        return self.weighted(sum(losses[:n]) / n, sum(losses[n:]) / max(len(images), 1))

    def _old_loss(self, images):
        if not images:
            return 0
        groups = [images] * len(self.heads)
        if self.own_images and self.stream.scenario == "task":
            size = len(images) // len(self.heads)
            groups = [images[h * size : (h + 1) * size] for h in range(len(self.heads))]
        means = [
            sum(self._one(x, head) for x in group) / len(group) for head, group in zip(self.heads, groups, strict=True)
        ]
        return sum(means) / len(means)

    def _one(self, x, head):
        """The loss of one image under one old head; the softmax runs over the units in use."""
        with torch.no_grad():
            v = self.old[0](x[None])[0]
        z, used = self.classifier(x[None])[0], self.in_use or head
        if not self.distill:
            return -z[used].log_softmax(0)[used.index(max(head, key=lambda unit: float(v[unit])))]
        target = dict(zip(head, (v[head] / self.T).softmax(0), strict=True))
        output = dict(zip(used, (z[used] / self.T).log_softmax(0), strict=True))
        loss = -sum(p * output[unit] for unit, p in target.items())
        return loss * {"sum": 1, "sum_T2": self.T**2, "mean_T2": self.T**2 / len(used)}[self.KD]


def _steps(losses, parameters, optimizer):
    for loss in losses:
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for p, grad in zip(parameters, found, strict=True):
            p.grad = torch.zeros_like(p) if grad is None else grad
        optimizer.step()


def _vector(*modules) -> Tensor:
    return torch.cat([p.detach().flatten() for module in modules for p in module.parameters()])


def dgr(module, stream, train, seed, hidden, z, recon, logvar_bias, apart=False, **targets) -> Tensor:
    """Two networks. `apart`: the classifier takes all its steps of a task before the generator takes its first."""
    D = stream.tasks[0].train.take(torch.arange(1))[0].numel()
    vae = SlowVAE(D, hidden, z, hidden[::-1], D, recon, logvar_bias, generator(seed, "generator", 0))
    replayer = Replayer(stream, module, vae, **targets)
    nets = [list(module.parameters()), list(vae.parameters())]
    optimizers = [OPTIMIZERS[train.optimizer](parameters, lr=train.lr) for parameters in nets]
    for task in stream.tasks:
        replayer.begin(task)
        replay, eps, own, own_replay = (
            generator(seed, role, task.index) for role in ("replay", "latent", "generator batches", "generator replay")
        )
        batches = [[replayer.new[n] for n in places] for places in orders(len(task.train), train, seed, task.index)]
        if apart:
            losses = (replayer.classify(batch, replayer.images(len(batch), replay)) for batch in batches)
            _steps(losses, nets[0], optimizers[0])
            _steps(_apart(replayer, batches, own, own_replay, eps), nets[1], optimizers[1])
        else:
            for batch in batches:
                images = replayer.images(len(batch), replay)
                _steps([replayer.classify(batch, images)], nets[0], optimizers[0])
                _steps([replayer.generate([x for x, _, _ in batch], images, eps)], nets[1], optimizers[1])
        replayer.end()
    return _vector(module, vae)


def _apart(replayer, batches, own, own_replay, eps):
    """The generator's losses over batches of its own, of the same sizes; what fills no batch is left out."""
    left = []
    for batch in batches:
        n = len(batch)
        if len(left) < n:
            left = torch.randperm(len(replayer.new), generator=own).tolist()
        new, left = [replayer.new[place][0] for place in left[:n]], left[n:]
        yield replayer.generate(new, replayer.images(n, own_replay), eps)


def rtf(module, stream, train, seed, hidden, z, recon, logvar_bias, **targets) -> Tensor:
    """One network: the body of the classifier encodes."""
    D = stream.tasks[0].train.take(torch.arange(1))[0].numel()
    n_features = module.head.in_features
    vae = SlowVAE(n_features, (), z, hidden[::-1], D, recon, logvar_bias, generator(seed, "generator", 0))
    replayer = Replayer(stream, module, vae, distill=True, **targets)
    parameters = [*module.parameters(), *vae.parameters()]
    optimizer = OPTIMIZERS[train.optimizer](parameters, lr=train.lr)
    for task in stream.tasks:
        replayer.begin(task)
        replay, eps = (generator(seed, role, task.index) for role in ("replay", "latent"))
        for places in orders(len(task.train), train, seed, task.index):
            batch = [replayer.new[n] for n in places]
            images = replayer.images(len(batch), replay)
            drawn = replayer.generate([x for x, _, _ in batch], images, eps, lambda x: module.body(x[None])[0])
            _steps([replayer.classify(batch, images) + drawn], parameters, optimizer)
        replayer.end()
    return _vector(module, vae)

"""Deep generative replay (Shin et al., 2017), with a VAE as in the comparisons of van de Ven and Tolias.

    L   = 1/k CE(x, y) + (1 - 1/k) CE(x', y')           k: tasks so far; x, y: new; as many x' as x
    L_G = 1/k mean L_VAE(x) + (1 - 1/k) mean L_VAE(x')
    x'  = G'(z), z ~ N(0, I)                            G': the decoder after the last task; for `bce`, its sigmoid
    y'  = arg max_c v_c(x'), c an old unit              v: outputs of the classifier after the last task
    L_VAE(x) = recon(x, G(mu + exp(logvar / 2) eps)) + 1/(2 D) sum_j (mu_j^2 + exp(logvar_j) - 1 - logvar_j)

mu and logvar are the encoder's outputs for x, and eps ~ N(0, I). recon is a mean over the D pixels: of their cross
entropy, or of half their squared error. With `distill` (DGR+distill) soft targets replace y', and CE(x', y') becomes

    KD(x') = - T^2 sum_c softmax(v / T)_c log softmax(logits / T)_c

The generator is a second network. Both networks see the same new and the same replayed images in a step. Old units are
those that the task before could use. In task-IL each old head has a loss, and these are averaged.

The code of the RtF paper (`vdv2018`) trains the classifier for all iterations of a task and then the generator. Each
draws its own batches and its own replay (`apart`). The two share no parameter and no draw. So the order changes
nothing, and here they take their steps side by side. In task-IL each old head has images of its own. Soft targets have
a mean over units, times T^2. The code of 2019 (`vdv2019`) has one loop, and the same images for all heads. Its head of
logvar has no bias. The code of 2022 (`vdv2022`) has the sum over units without T^2.

Differs from Shin et al.: a VAE in place of their WGAN-GP. Differs from van de Ven's code: the sigmoid is part of the
cross entropy of pixels, so that no logarithm is cut.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from methods.base.method import cross_entropy
from methods.base.options import Need
from methods.generative.replay import GenerativeReplay, together
from methods.generative.vae import VAE

SOFT_TARGETS = Need("distill = true", lambda own: own.distill)


@dataclass
class DGR(GenerativeReplay):
    """distill: soft targets in place of hard ones. apart: the generator draws batches and replay of its own."""

    distill: bool = False
    apart: bool = False

    needs: ClassVar[dict[str, Need]] = {"T": SOFT_TARGETS, "KD": SOFT_TARGETS}
    presets: ClassVar[dict[str, dict]] = {
        "vdv2018": {"KD": "mean_T2", "own_images": True, "apart": True},
        "vdv2019": {"KD": "mean_T2", "logvar_bias": False},
        "vdv2022": {"KD": "sum", "logvar_bias": False},
    }

    def make_vae(self, shape, n_features):
        D = torch.Size(shape).numel()
        return VAE(D, self.hidden, self.z, self.hidden[::-1], shape, self.recon, self.logvar_bias)

    def before_task(self, theta, task):
        if self.apart:
            self.train, self.left = task.train, torch.empty(0, dtype=torch.int64)
            roles = ("generator batches", "generator replay")
            (self.own_batches,), (self.own_draws,) = (self.generators(role, theta, task) for role in roles)
        return super().before_task(theta, task)

    def loss(self, theta, x, y, mask):
        own, phi = self.net.split(theta)
        images = self.images(len(y), self.draws)
        seen = together(x, images)
        loss = self.classifier_loss(self.net.net(own, seen, train=True), y, mask, images)
        if self.apart:
            seen = together(self._own_batch(len(y)), self.images(len(y), self.own_draws))
        return loss + self.generator_loss(phi, seen.flatten(1), seen, len(y))

    def after_task(self, theta, task):
        super().after_task(theta, task)
        self.train = self.left = None

    def compare(self, z, v):
        return super().compare(z, v) if self.distill else cross_entropy(z, v.argmax(-1))

    def _own_batch(self, n: int) -> Tensor:
        """Return the next n examples of a shuffled epoch. The rest of an epoch that fills no batch is left out."""
        if len(self.left) < n:
            self.left = torch.randperm(len(self.train), generator=self.own_batches)
        index, self.left = self.left[:n], self.left[n:]
        return self.train.take(index.to(self.train.parts[0].y.device))[0]

"""Replay through feedback (van de Ven and Tolias, 2018): the classifier and the generator are one network.

    L  = 1/k [CE(x, y) + L_VAE(x)] + (1 - 1/k) [KD(x') + L_VAE(x')]     k: tasks so far; x, y: new; as many x' as x
    x' = G'(z), z ~ N(0, I)               G': the decoder after the last task; for `bce`, its sigmoid
    KD(x')   = - T^2 sum_c softmax(v / T)_c log softmax(logits / T)_c   v: outputs for x' after the last task
    L_VAE(x) = recon(x, G(mu + exp(logvar / 2) eps)) + 1/(2 D) sum_j (mu_j^2 + exp(logvar_j) - 1 - logvar_j)

The layers below the classifier's last one are the encoder of the VAE. Its two linear heads, mu and logvar, and its
decoder G are added. So the features are trained by both losses. eps ~ N(0, I). recon is a mean over the D pixels: of
their cross entropy, or of half their squared error. c runs over the old units: those that the task before could use.

In task-IL each old head has a loss, and these are averaged. As in the code of the paper (`vdv2018`), each has images of
its own, and soft targets have a mean over units, times T^2.

Differs from van de Ven's code: the sigmoid is part of the cross entropy of pixels, so that no logarithm is cut.
"""

from dataclasses import dataclass
from typing import ClassVar

from methods.generative.replay import GenerativeReplay, together
from methods.generative.vae import VAE


@dataclass
class RtF(GenerativeReplay):
    """hidden: as of the network's own layers; the decoder has them from z to the image."""

    presets: ClassVar[dict[str, dict]] = {"vdv2018": {"KD": "mean_T2", "own_images": True}}

    def make_vae(self, shape, n_features):
        return VAE(n_features, (), self.z, self.hidden[::-1], shape, self.recon, self.logvar_bias)

    def loss(self, theta, x, y, mask):
        own, phi = self.net.split(theta)
        images = self.images(len(y), self.draws)
        seen = together(x, images)
        logits, features = self.net.net.with_features(own, seen, train=True)
        return self.classifier_loss(logits, y, mask, images) + self.generator_loss(phi, features, seen, len(y))

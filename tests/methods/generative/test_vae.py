"""The VAE: its loss is the negative ELBO, by numerical integrals; what it draws; its layers."""

import math

import pytest
import torch

from methods.generative.vae import VAE
from tests.support.slow_generative import SlowVAE

GRID = torch.linspace(-8, 8, 32001, dtype=torch.float64)[:, None]
STEP = 16 / 32000


def normal(z, mean=0.0, sigma=1.0):
    return (-(((z - mean) / sigma) ** 2) / 2).exp() / (sigma * math.sqrt(2 * math.pi))


def phi_of(vae, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return 0.7 * torch.randn(vae.n_parameters, dtype=torch.float64, generator=draws)


def likelihood(vae, phi, x, z):
    """p(x | z) of one image [D] for every z [N, 1], from the decoder alone."""
    xhat = vae.decode(phi, z)
    if vae.recon == "bce":
        s = xhat.sigmoid()
        return (s**x * (1 - s) ** (1 - x)).prod(-1)
    return normal(x, xhat).prod(-1)


@pytest.mark.parametrize("recon", ["bce", "squared"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_loss_is_the_negative_elbo_over_the_pixels(recon, seed):
    """Of two pixels and one latent number: E_q log p(x | z) + log p(z) - log q(z | x), and never above log p(x)."""
    vae = VAE(2, (3,), 1, (3,), (2,), recon)
    phi, x = phi_of(vae, seed), torch.tensor([[0.2, 1.0]], dtype=torch.float64)
    mu, logvar = vae._encode(vae._views(phi), x)
    sigma = float(logvar.exp().sqrt())
    eps_weights = normal(GRID[:, 0]) * STEP
    many = x.expand(len(GRID), -1)
    found = (eps_weights * vae.losses(phi, many, many, GRID)).sum()
    z = float(mu) + sigma * GRID
    q = normal(z, float(mu), sigma)[:, 0]
    inside = likelihood(vae, phi, x[0], z).log() + normal(z)[:, 0].log() - q.log()
    elbo = (q * inside).sum() * STEP * sigma
    constant = 0.0 if recon == "bce" else 2 / 2 * math.log(2 * math.pi)
    torch.testing.assert_close(-2 * found, elbo + constant, rtol=1e-9, atol=0)
    evidence = ((likelihood(vae, phi, x[0], GRID) * normal(GRID)[:, 0]).sum() * STEP).log()
    assert elbo < evidence


def linear(recon, z=2, sigma=3.0):
    """A VAE without hidden layers: mu = 0, logvar = 2 log sigma, xhat = z."""
    vae = VAE(z, (), z, (), (z,), recon)
    phi = torch.zeros(vae.n_parameters, dtype=torch.float64)
    pieces = phi.split(vae.sizes)
    pieces[3].fill_(2 * math.log(sigma))
    pieces[4].copy_(torch.eye(z).flatten())
    return vae, phi


def test_the_posterior_has_the_deviation_exp_half_logvar():
    """The decoder hands z through, so that the squared error shows it: not exp(logvar) / 2, which is 4.5 here."""
    vae, phi = linear("squared")
    eps = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(7, 2, dtype=torch.float64)
    KL = 2 * (9 - 1 - math.log(9)) / 2
    expected = ((3 * eps) ** 2 / 2).mean(-1) + KL / 2
    torch.testing.assert_close(vae.losses(phi, x, x, eps), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("recon", ["bce", "squared"])
def test_images_are_decoded_from_a_standard_normal(recon):
    """Whatever the posterior's deviation; with `bce` they are probabilities."""
    vae, phi = linear(recon)
    z = torch.randn(40000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images = vae.sample(phi, z)
    expected = z.sigmoid() if recon == "bce" else z
    torch.testing.assert_close(images, expected, rtol=1e-12, atol=0)
    assert not images.requires_grad
    if recon == "squared":  # five standard errors
        assert abs(float(images.mean())) < 5 / 80000**0.5
        assert abs(float(images.var()) - 1) < 5 * (2 / 80000) ** 0.5


@pytest.mark.parametrize("logvar_bias", [True, False])
@pytest.mark.parametrize("trunk", [(), (5,), (5, 4)])
@pytest.mark.parametrize("recon", ["bce", "squared"])
def test_losses_and_gradient_are_those_of_modules(recon, trunk, logvar_bias):
    draws = torch.Generator().manual_seed(0)
    slow = SlowVAE(7, trunk, 3, (4, 5), 6, recon, logvar_bias, torch.Generator().manual_seed(1))
    vae = VAE(7, trunk, 3, (4, 5), (1, 2, 3), recon, logvar_bias)
    phi = vae.initial(torch.Generator().manual_seed(1), torch.float64).requires_grad_()
    torch.testing.assert_close(phi.detach(), torch.cat([p.detach().flatten() for p in slow.parameters()]))
    h, eps = (torch.randn(5, n, dtype=torch.float64, generator=draws) for n in (7, 3))
    x = torch.rand(5, 1, 2, 3, dtype=torch.float64, generator=draws)
    losses = vae.losses(phi, h, x, eps)
    expected = torch.stack([slow.loss(*each) for each in zip(h, x.flatten(1), eps, strict=True)])
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-13)
    (found,) = torch.autograd.grad(losses.square().sum(), phi)
    grads = torch.autograd.grad(expected.square().sum(), list(slow.parameters()))
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in grads]), rtol=1e-10, atol=1e-12)


def test_layers_begin_as_pytorchs_linear_layers():
    """Uniform within 1 / sqrt(inputs), the biases too."""
    vae = VAE(49, (400,), 100, (400,), (7, 7))
    phi = vae.initial(torch.Generator().manual_seed(0), torch.float32)
    for piece, inputs in zip(phi.split(vae.sizes), [49, 49, 400, 400, 400, 400, 100, 100, 400, 400], strict=True):
        bound = inputs**-0.5
        assert float(piece.abs().max()) <= bound
        assert float(piece.abs().max()) > 0.9 * bound
        assert abs(float(piece.var()) - bound**2 / 3) < 6 * bound**2 * (4 / 45 / len(piece)) ** 0.5

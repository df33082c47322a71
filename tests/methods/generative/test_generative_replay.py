"""DGR and RtF: whole runs against a second implementation; what is replayed; what is kept; what is refused."""

import re
from dataclasses import asdict, replace

import pytest
import torch

import methods
from benchmarks.avalanche_plugin import Plugin
from benchmarks.checkpoint import holdings
from benchmarks.learner import fit, learn, start
from benchmarks.trace import Trace
from methods.base.errors import UserError
from methods.base.net import Net
from methods.base.rng import generator
from tests.support import slow_generative, toy

SCENARIOS = pytest.mark.parametrize("scenario", ["task", "domain", "class"])
NAMES = pytest.mark.parametrize("name", ["dgr", "rtf"])
SIZES = {"hidden": (7, 5), "z": 3}
TRAIN = replace(toy.TRAIN, batch=5, epochs=1)
ADAM = replace(TRAIN, optimizer="adam", lr=0.01)
VARIANTS = [
    ("dgr", "vdv2018", {}),
    ("dgr", "vdv2018", {"distill": True}),
    ("dgr", "vdv2019", {}),
    ("dgr", "vdv2019", {"distill": True, "T": 3.0}),
    ("dgr", "vdv2022", {"distill": True}),
    ("dgr", None, {"distill": True, "recon": "squared"}),
    ("rtf", "vdv2018", {}),
    ("rtf", None, {"recon": "squared", "T": 3.0}),
]


def stream(scenario, in_unit=True, dtype=torch.float64):
    """The toy stream with pixels in (0, 1)."""
    made = toy.stream(scenario, dtype, sizes=toy.SMALL)
    for task in made.tasks if in_unit else ():
        task.train.parts[0].source.sigmoid_()  # the test set's too
    return made


def make(name, preset=None, **options):
    return toy.make(name, preset=preset, **SIZES | {"recon": "bce"} | options)


@pytest.mark.parametrize(("scenario", "train"), [("task", TRAIN), ("domain", TRAIN), ("class", ADAM)])
@pytest.mark.parametrize(("name", "preset", "options"), VARIANTS)
def test_a_whole_run_is_that_of_the_second_implementation(name, preset, options, train, scenario):
    """Of 2018, too, where the generator takes its steps after the classifier has taken all of its."""
    method = make(name, preset, **options)
    made = stream(scenario, in_unit=method.recon == "bce")
    given = asdict(method)
    expected = getattr(slow_generative, name)(toy.module(made), made, train, 1, **given)
    _, theta = toy.run(method, made, train=train)
    torch.testing.assert_close(theta, expected, rtol=1e-8, atol=1e-10)


@NAMES
def test_replayed_images_are_drawn_from_the_old_generator_alone(name, monkeypatch):
    """They are a function of theta after the last task and of the draws: no image of a task is among them."""
    made, drawn = stream("class"), []
    method = make(name, "vdv2018")
    real = method.images

    def images(n, draws):
        found = real(n, draws)
        if found is not None:
            drawn.append(found)
        return found

    monkeypatch.setattr(method, "images", images)
    toy.run(method, made, train=ADAM)
    seen = torch.cat([task.train.take(torch.arange(len(task.train)))[0] for task in made.tasks])
    images = torch.cat(drawn)
    assert len(images) >= 36
    assert float(images.min()) >= 0 and float(images.max()) <= 1
    assert float(torch.cdist(images.flatten(1), seen.flatten(1)).min()) > 0.01
    _, phi = method.net.split(method.old)
    z = torch.randn(6, 3, generator=generator(5, "x"), dtype=torch.float64)
    torch.testing.assert_close(method.images(6, generator(5, "x")), method.net.vae.sample(phi, z), rtol=0, atol=0)


@NAMES
def test_what_is_kept_between_tasks_is_one_copy_of_both_networks_and_no_example(name):
    made, trace = stream("class", dtype=torch.float32), Trace()
    method = make(name)
    net = Net(toy.module(made))
    _, theta = learn(method, net, net.vector(), made, ADAM, (1,), trace)
    assert torch.equal(method.old, theta)
    examples, size = holdings(method.state())
    units = 8 * (len(method.heads[0]) + len(method.in_use))  # as whole numbers
    assert (examples, size) == (0, 4 * len(theta) + units)
    assert trace.memory == {"examples": 0, "bytes": size}
    assert (
        start(make(name), [made], ADAM, (1,), "cpu", Trace())
        == len(theta)
        == net.n_parameters + method.net.vae.n_parameters
    )


@SCENARIOS
def test_images_of_the_heads_in_task_il(scenario):
    """2018: ceil(B / (k - 1)) for each old head. Otherwise B, which go through all heads."""
    made = stream(scenario)
    for preset, expected in (("vdv2018", 12 if scenario == "task" else 11), ("vdv2019", 11)):
        method = make("dgr", preset)
        theta = toy.after_tasks(method, made, 2)[-1]
        method.before_task(theta, made.tasks[2])
        assert len(method.images(11, generator(1, "x"))) == expected


@NAMES
def test_the_teacher_is_the_network_after_the_last_task(name):
    """It stays where it is while theta moves on, its batch statistics too."""
    made = stream("class")
    method = make(name)
    theta = toy.begin(method, made, build=toy.noisy)
    for task in made.tasks[:2]:
        fit(method, theta, task, ADAM.make_optimizer(theta), ADAM, [torch.Generator().manual_seed(0)])
        if task.index == 0:
            x = task.train.take(torch.arange(5))[0]
            with torch.no_grad():
                method.after_task(theta.clone(), task)
                expected = method.net(theta, x)
    torch.testing.assert_close(method.teacher.outputs(x), expected, rtol=0, atol=0)
    assert not torch.equal(method.net(theta, x), expected)


def test_the_generator_of_dgr_leaves_the_classifier_alone():
    """Other draws of the latent variables, a smaller generator: in the first task the classifier is the same."""
    made = stream("class")
    first = replace(made, tasks=made.tasks[:1])
    thetas = [toy.run(make("dgr", hidden=hidden), first, train=TRAIN)[1] for hidden in ((7, 5), (4,))]
    n = len(toy.run(toy.make("naive"), first, train=TRAIN)[1])
    assert torch.equal(thetas[0][:n], thetas[1][:n])
    assert len(thetas[0]) != len(thetas[1])


@NAMES
def test_refuses_pixels_that_are_no_probabilities(name):
    made = toy.stream("class", sizes=toy.SMALL)
    match = r"^recon = 'bce' needs pixels in \[0, 1\], got -\d.* to \d.*: leave mean and std out of the stream, or take"
    with pytest.raises(UserError, match=match):
        toy.run(make(name), made)
    toy.run(make(name, recon="squared"), made)


@NAMES
def test_refuses_features_that_are_no_vectors(name):
    class Late(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Conv2d(1, 3, 3)
            self.head = torch.nn.Conv2d(3, 6, 2)

        def forward(self, x):
            return self.head(self.body(x)).flatten(1)

    made = stream("class")
    with pytest.raises(UserError, match=r"needs features that are vectors, got \(3, 2, 2\)"):
        toy.run(make(name), made, build=lambda *_: Late().double())


@NAMES
def test_convolutions_below_are_welcome(name):
    made = stream("class")
    _, theta = toy.run(make(name), made, train=ADAM, build=lambda stream, seed=1: toy.module(stream, seed, "cnn-2-4"))
    assert bool(theta.isfinite().all())


@NAMES
def test_the_plugin_refuses_in_one_line(name):
    with pytest.raises(UserError, match="adds parameters to the network") as error:
        Plugin(make(name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("hidden", bad) for bad in (5, [0], ["8"], [1.5], None)],
        *[("z", bad) for bad in (0, -1, 1.5, "8", True)],
        *[("T", bad) for bad in (0, -1.0, "1", None, True)],
        *[("recon", bad) for bad in ("mse", None, 0)],
        *[("KD", bad) for bad in ("mean", None, 0)],
        *[(option, bad) for option in ("logvar_bias", "own_images", "distill", "apart") for bad in (None, 1, "true")],
    ],
)
def test_refuses_options(option, bad):
    with pytest.raises(UserError, match=rf"^(unknown )?{option}\b") as error:
        methods.make("dgr", **{option: bad})
    assert re.search(re.escape(repr(bad)), str(error.value))

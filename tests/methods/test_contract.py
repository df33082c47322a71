"""What every file in methods/ must do, whatever lies there."""

from dataclasses import replace

import pytest
import torch

from benchmarks.learner import fit
from methods.base.errors import UserError
from methods.base.method import Method
from tests.support import toy
from tests.support.toy import CASES, CLASSES, EACH

STRENGTHS = [(name, scenario) for name, scenario in CASES if CLASSES[name].strength is not None]
ADAM = replace(toy.TRAIN, optimizer="adam", lr=0.01)
# These train several seeds at once.
STACK = {"ewc", "ewcpp", "joint", "l2", "lwf", "mas", "naive", "online_ewc", "rwalk", "scp", "si", "xdg"}
EVEN = {"l2"}  # every parameter is as important as any other, those of an unused head too
OWN_START = {"icarl", "rtf", "xdg", "pnn", "den"}  # their first task differs: loss, features that draw, gates, own net
DRAWN = [  # options under which the end of a task draws at random, or looks at the network in another way
    ("ewc", {"fisher": "sample"}),
    ("ewc", {"fisher": "batched"}),
    ("ewc", {"n_samples": 11}),
    ("mas", {"per_sample": False}),
    ("scp", {"slices": 3}),
    ("icarl", {"classifier": "hybrid1"}),
    *[("rwalk", {"sampler": sampler}) for sampler in ("uniform", "plane_distance", "entropy", "mof")],
]


def off(name):
    return toy.make(name, **{CLASSES[name].strength: 0.0})


def quadratic_after(name, stream, n_tasks, **options):
    """The method's quadratic after tasks with random parameters; skips where there is none."""
    method = toy.make(name, **options)
    toy.after_tasks(method, stream, n_tasks)
    if method.quadratic is None:
        pytest.skip(f"{name} has no quadratic penalty")
    return method


@pytest.mark.parametrize(("name", "scenario"), EACH)
def test_same_seed_twice_is_identical_and_another_seed_is_not(name, scenario):
    stream = toy.stream(scenario, torch.float32)
    (counts, theta), (again_counts, again_theta), (_, other) = (
        toy.run(toy.make(name), stream, (seed,), ADAM) for seed in (1, 1, 2)
    )
    assert counts == again_counts
    assert torch.equal(theta, again_theta)
    assert not torch.equal(theta, other)
    assert theta.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "scenario"), EACH)
def test_a_network_in_half_precision_is_trained_in_it(name, scenario, dtype):
    """EWC stopped at its second anchor, as its importance is in single precision."""
    counts, theta = toy.run(toy.make(name), toy.stream(scenario, dtype=dtype))
    assert theta.dtype == dtype and bool(theta.isfinite().all()) and None not in counts[-1]


@pytest.mark.parametrize(("name", "scenario"), STRENGTHS)
def test_strength_zero_is_naive_to_the_bit_and_above_zero_differs(name, scenario, build=toy.noisy):
    stream = toy.stream(scenario, torch.float32)
    naive_counts, naive = toy.fine_tuned(scenario, train=ADAM, build=build)
    counts, theta = toy.run(off(name), stream, train=ADAM, build=build)
    assert torch.equal(theta, naive)
    assert counts == naive_counts
    assert not torch.equal(toy.run(toy.make(name), stream, train=ADAM, build=build)[1], naive)


@pytest.mark.parametrize(
    ("name", "scenario"), [(n, s) for n, s in CASES if not CLASSES[n].joins_tasks and n not in OWN_START]
)
def test_first_task_is_naive_to_the_bit(name, scenario):
    stream = toy.stream(scenario, torch.float32)
    first = replace(stream, tasks=stream.tasks[:1])
    counts, theta = toy.run(toy.make(name), first, train=ADAM, build=toy.noisy)
    naive_counts, naive = toy.fine_tuned(scenario, train=ADAM, build=toy.noisy, n_tasks=1)
    assert counts == naive_counts
    if CLASSES[name].grow is Method.grow:
        assert torch.equal(theta, naive)
    else:  # fused Adam rounds the last numbers of a vector, which are no multiple of eight, in another way
        torch.testing.assert_close(theta[: len(naive)], naive, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_one_network_is_its_slice_of_several_or_several_are_refused(name, scenario):
    """Only what keeps the memory of one run may refuse, and does so before anything else."""
    stream, method = toy.stream(scenario), toy.make(name)
    assert name in toy.OWN or method.stacks == (name in STACK)
    if not method.stacks:
        check_refusal(method, stream)
        return
    counts, thetas = toy.run(method, stream, (2, 7))
    for r, seed in enumerate((2, 7)):
        alone_counts, alone = toy.run(toy.make(name), stream, (seed,))
        torch.testing.assert_close(thetas[r], alone, rtol=1e-10, atol=1e-10)
        for row, alone_row in zip(counts, alone_counts, strict=True):
            assert [cell and cell[r] for cell in row] == alone_row


def check_refusal(method, stream):
    """`begin` refuses three stacked replicas and takes one network."""
    theta, net = toy.begin(method, stream), method.net
    name = type(method).__name__
    match = rf"^{name} keeps the memory of one run and cannot train R = 3 stacked replicas: run one process per seed$"
    with pytest.raises(UserError, match=match):
        method.begin(net, theta.expand(3, -1), None)


def test_replicas_are_refused_where_an_option_adds_a_memory():
    """RWalk is a penalty, which stacks, unless a sampler keeps exemplars."""
    check_refusal(toy.make("rwalk", sampler="uniform"), toy.stream())


def trained(name, scenario, **options):
    """A method, theta and the task it has just been trained on, with a net that has dropout and batch norm."""
    stream = toy.stream(scenario)
    method = toy.make(name, **options)
    theta = toy.begin(method, stream, build=toy.noisy_for(name))
    torch.default_generator.manual_seed(0)
    task = stream.tasks[0]
    train(method, theta, task)
    return method, theta, task


def train(method, theta, task):
    draws = [torch.Generator().manual_seed(0)]
    fit(method, theta, task, toy.TRAIN.make_optimizer(theta), toy.TRAIN, draws)


@pytest.mark.parametrize(
    ("name", "scenario", "options"),
    [*[(*case, {}) for case in EACH], *[(n, "class", options) for n, options in DRAWN]],
)
def test_after_task_leaves_parameters_buffers_and_randomness_alone(name, scenario, options):
    method, theta, task = trained(name, scenario, **options)
    module = method.net.module
    before, state = theta.clone(), {key: value.clone() for key, value in module.state_dict().items()}
    x, y, mask = task.train.take(torch.arange(len(task.train)))
    random = torch.get_rng_state()
    with torch.no_grad():
        method.after_task(theta, task)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(theta, before)
    for key, value in module.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert torch.is_grad_enabled()
    for whole, now in zip((x, y, mask), task.train.take(torch.arange(len(task.train))), strict=True):
        assert torch.equal(whole, now)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_after_task_leaves_modes_alone(name, scenario, mode):
    method, theta, task = trained(name, scenario)
    module = method.net.module.train(mode)
    with torch.no_grad():
        method.after_task(theta, task)
    assert {each.training for each in module.modules()} == {mode}


@pytest.mark.parametrize(("name", "scenario"), [case for case in EACH if case[0] not in toy.PERCEPTRON])
def test_dropout_is_on_in_training_and_off_in_importance_and_evaluation(name, scenario):
    """Told by the modules themselves, whenever they are called; in training, what takes no gradient is a teacher."""
    modes, phase = {}, ["importance"]  # what is called outside the hooks below is called for per-sample squares

    def note(module, x, y):
        label = "evaluation" if phase[-1] == "training" and not torch.is_grad_enabled() else phase[-1]
        modes.setdefault(label, set()).add(module.training)

    def watched(stream, seed=1):
        module = toy.noisy(stream, seed)
        for each in module.modules():
            each.register_forward_hook(note)
        return module

    def within(label, real):
        def hook(*arguments):
            phase.append(label)
            result = real(*arguments)
            phase.pop()
            return result

        return hook

    method = toy.make(name)
    labels = {"loss": "training", "after_backward": "training", "after_task": "importance", "predict": "evaluation"}
    for hook, label in labels.items():
        setattr(method, hook, within(label, getattr(method, hook)))
    toy.run(method, toy.stream(scenario), build=watched)
    assert modes.pop("training") == {True}
    assert modes.pop("evaluation") == {False}
    assert modes.pop("importance", {False}) == {False}
    assert not modes


@pytest.mark.parametrize(("name", "scenario"), EACH)
def test_hooks_keep_copies(name, scenario):
    """What a method was given may change later: neither its penalty nor what it trains to and keeps next follows."""

    def spoiling(hook):
        def call(given, task):
            result = hook(given, task)
            given.zero_()
            return result

        return call

    def pulls(spoil):
        method, theta, task = trained(name, scenario)
        found = []
        for hook in ("before_task", "after_task") if spoil else ():
            setattr(method, hook, spoiling(getattr(method, hook)))
        for following in toy.stream(scenario).tasks[1:]:
            here = theta + 0.5
            with torch.no_grad():
                method.after_task(theta.clone(), task)
            found += [method.penalty(here), method.add_penalty_grad(here, torch.zeros_like(here)).clone()]
            task = following
            train(method, theta, task)
            found.append(theta.clone())
        return found

    torch.testing.assert_close(pulls(spoil=True), pulls(spoil=False), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "scenario"), STRENGTHS)
def test_penalty_gradient_is_autograd_of_the_penalty(name, scenario):
    method, theta, task = trained(name, scenario)
    with torch.no_grad():
        method.after_task(theta, task)
    draws = torch.Generator().manual_seed(0)
    for _ in range(2):
        here = theta + torch.randn(theta.shape, dtype=theta.dtype, generator=draws)
        grad = torch.randn(theta.shape, dtype=theta.dtype, generator=draws)
        kept, variable = grad.clone(), here.clone().requires_grad_()
        value = method.penalty(variable)
        expected = torch.autograd.grad(value, variable)[0] if value is not None else torch.zeros_like(grad)
        torch.testing.assert_close(method.add_penalty_grad(here, grad), grad + expected, rtol=1e-12, atol=1e-14)
        assert torch.equal(grad, kept)


@pytest.mark.parametrize(("name", "scenario"), STRENGTHS)
def test_penalty_is_zero_where_the_second_task_begins(name, scenario):
    method, theta, task = trained(name, scenario)
    with torch.no_grad():
        method.after_task(theta, task)
    grad = torch.linspace(-1, 1, len(theta), dtype=theta.dtype)
    assert method.penalty(theta) is None or method.penalty(theta) == 0
    assert torch.equal(method.add_penalty_grad(theta, grad), grad)


@pytest.mark.parametrize(("name", "scenario"), STRENGTHS)
def test_importance_is_finite_and_not_negative_after_each_task(name, scenario):
    method, theta, task = trained(name, scenario)
    if method.quadratic is None:
        pytest.skip(f"{name} has no quadratic penalty")
    for following in [*toy.stream(scenario).tasks[1:], None]:
        with torch.no_grad():
            method.after_task(theta, task)
        A = method.quadratic.A
        assert A.shape == theta.shape
        assert bool(A.isfinite().all()) and bool((A >= 0).all()) and bool((A > 0).any())
        if task := following:
            train(method, theta, task)


@pytest.mark.parametrize(("name", "scenario"), [(n, s) for n, s in STRENGTHS if n not in EVEN and s != "domain"])
def test_importance_of_units_never_used_is_zero(name, scenario):
    stream = toy.stream(scenario)
    method = toy.make(name)
    toy.run(method, replace(stream, tasks=stream.tasks[:2]), train=ADAM)
    if method.quadratic is None:
        pytest.skip(f"{name} has no quadratic penalty")
    toy.skip_if_even(name, method.quadratic.A)
    views = method.net.views(method.quadratic.A)
    for head in (views["head.weight"], views["head.bias"]):
        assert head[4:].count_nonzero() == 0
        assert head[:2].count_nonzero() > 0 and head[2:4].count_nonzero() > 0


@pytest.mark.parametrize(("name", "scenario"), STRENGTHS)
def test_importance_is_of_a_set_of_examples(name, scenario):
    """Neither their order nor taking each five times, more than fit in one pass, changes it."""
    stream = toy.stream(scenario)
    expected = quadratic_after(name, stream, 2).quadratic.A
    draws = torch.Generator().manual_seed(0)

    def changed(change):
        tasks = tuple(replace(task, train=change(task.train)) for task in stream.tasks)
        return quadratic_after(name, replace(stream, tasks=tasks), 2).quadratic.A

    shuffled = changed(lambda train: train.select(torch.randperm(len(train), generator=draws)))
    torch.testing.assert_close(shuffled, expected, rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(changed(lambda train: train.repeat(5)), expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(("name", "scenario"), EACH)
def test_test_sets_do_not_reach_training(name, scenario):
    """Test sets of another size full of NaN leave theta as it is."""
    stream = toy.stream(scenario)
    tests = tuple(test.select(torch.arange(4)) for test in stream.tests)
    for test in tests:
        test.parts[0].source.fill_(float("nan"))
    _, theta = toy.run(toy.make(name), stream)
    assert torch.equal(toy.run(toy.make(name), replace(stream, tests=tests))[1], theta)

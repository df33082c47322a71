"""What a plugin meets in other people's strategies: a second run, another model, other plugins, labels that restart."""

from copy import deepcopy

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.checkpointing import maybe_load_checkpoint, save_checkpoint
from avalanche.core import SupervisedPlugin
from avalanche.models import SimpleMLP
from avalanche.training import plugins as avalanche_plugins
from avalanche.training.plugins import EarlyStoppingPlugin, LRSchedulerPlugin, ReplayPlugin
from avalanche.training.supervised import ER_ACE, ICaRL, Naive
from torch import nn
from torch.utils.data import TensorDataset

import methods
from benchmarks.avalanche_plugin import BYSTANDERS, Plugin
from methods.base.errors import UserError
from methods.base.net import Net
from tests.support import toy

pytestmark = pytest.mark.filterwarnings("ignore:No loggers specified")
NAMES = [name for name in toy.PLUGINS if "class" in methods.find(name).scenarios]
SUMS_OVER_STEPS = ["si", "rwalk", "ewcpp"]


def data(seed=0):
    y = torch.arange(60) % 6
    x = torch.randn(60, 8, generator=torch.Generator().manual_seed(seed)) + y[:, None]
    found = TensorDataset(x, y)
    found.targets = y.tolist()
    return found


def bench(**options):
    return nc_benchmark(data(), data(1), 3, **{"task_labels": False, "fixed_class_order": list(range(6)), **options})


class Module(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.head = nn.Linear(8, 9), nn.Linear(9, 6)

    def forward(self, x):
        return self.head(self.body(x).relu())


def strategy(model, *plugins, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    options = {"train_mb_size": 8, "train_epochs": 2, "evaluator": None, **options}
    return Naive(model=model, optimizer=optimizer, plugins=list(plugins), **options)


def train(made, stream):
    for experience in stream:
        made.train(experience)
    return Net(made.model).vector()


def test_a_method_may_be_given_to_several_plugins():
    """One method object for all seeds trains as a fresh one does."""
    method, stream = methods.make("ewc", lam=10.0), bench().train_stream
    shared = [train(strategy(Module(seed), Plugin(method)), stream) for seed in (0, 1)]
    for seed, theta in enumerate(shared):
        assert torch.equal(theta, train(strategy(Module(seed), Plugin(methods.make("ewc", lam=10.0))), stream))
    assert not torch.equal(*shared)


def test_a_plugin_is_of_one_model():
    plugin, stream = Plugin(methods.make("naive")), bench().train_stream
    train(strategy(Module(), plugin), stream)
    again = strategy(Module(1), plugin)
    before = Net(again.model).vector()
    for use in (lambda: again.train(stream[0]), lambda: again.eval(stream)):
        with pytest.raises(UserError, match="give a new run a new Plugin"):
            use()
    assert torch.equal(Net(again.model).vector(), before)


def test_a_model_that_is_replaced_or_changed_in_a_run_is_refused():
    stream = bench().train_stream
    made = strategy(Module(), Plugin(methods.make("naive")))
    made.train(stream[0])
    made.model = deepcopy(made.model)
    with pytest.raises(UserError, match="a copy is another one"):
        made.train(stream[1])
    made = strategy(Module(), Plugin(methods.make("naive")))
    made.train(stream[0])
    made.model.head = nn.Linear(9, 6)
    with pytest.raises(UserError, match="the layer 'head' of the model is another than before"):
        made.train(stream[1])


class Replaces(SupervisedPlugin):
    """A plugin of the user that gives the strategy another model, as Avalanche's GDumb does."""

    def before_training_exp(self, strategy, **kwargs):
        strategy.model = deepcopy(strategy.model)


def test_another_plugin_that_replaces_the_model_is_noticed():
    with pytest.raises(UserError, match="a copy is another one"):
        train(strategy(Module(), Replaces(), Plugin(methods.make("naive"))), bench().train_stream)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_beside_a_plugin_that_only_watches(name):
    model = Module()
    schedule = LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), lr=0.05), 1))
    stop = EarlyStoppingPlugin(patience=9, val_stream_name="test_stream", metric_name="none", peval_mode="epoch")
    others = [schedule] if name in SUMS_OVER_STEPS else [schedule, stop]
    made = strategy(model, Plugin(toy.make(name)), *others, eval_every=-1)
    assert isinstance(stop, BYSTANDERS)
    assert bool(train(made, bench().train_stream).isfinite().all())


@pytest.mark.parametrize("name", SUMS_OVER_STEPS)
def test_sums_over_steps_do_not_go_with_a_plugin_that_undoes_steps(name):
    """Early stopping puts the weights of the best epoch back. The path integral went on from the last step's."""
    made = strategy(Module(), EarlyStoppingPlugin(3, "test_stream"), Plugin(toy.make(name)))
    with pytest.raises(UserError, match=r"EarlyStoppingPlugin puts earlier .* steps that this undoes"):
        train(made, bench().train_stream)


class Clips(SupervisedPlugin):
    def after_backward(self, strategy, **kwargs):
        torch.nn.utils.clip_grad_norm_(strategy.model.parameters(), 1e-6)


class Decays(SupervisedPlugin):
    def before_backward(self, strategy, **kwargs):
        strategy.loss = strategy.loss + sum(p.square().sum() for p in strategy.model.parameters())


class DecaysInPlace(SupervisedPlugin):
    def before_backward(self, strategy, **kwargs):
        strategy.loss += sum(p.square().sum() for p in strategy.model.parameters())


def test_a_plugin_that_clips_gradients_comes_after_ours():
    model = Module()
    start = Net(model).vector()
    end = train(strategy(model, Plugin(methods.make("naive")), Clips()), bench().train_stream)
    assert 0 < (end - start).norm() < 1e-4
    with pytest.raises(UserError, match=r"Clips.after_backward comes before Plugin, .*: list Plugin first"):
        train(strategy(Module(), Clips(), Plugin(methods.make("naive"))), bench().train_stream)


@pytest.mark.parametrize("kind", [Decays, DecaysInPlace])
def test_a_loss_that_another_plugin_changes_is_refused(kind):
    with pytest.raises(UserError, match=r"before_backward comes before Plugin"):
        train(strategy(Module(), kind(), Plugin(methods.make("naive"))), bench().train_stream)
    with pytest.raises(UserError, match=r"another plugin changed the loss after Plugin"):
        train(strategy(Module(), Plugin(methods.make("naive")), kind()), bench().train_stream)


def of_avalanche():
    """Every plugin that Avalanche exports and that is no bystander, by name."""
    found = {name: getattr(avalanche_plugins, name) for name in dir(avalanche_plugins) if name.endswith("Plugin")}
    base = avalanche_plugins.strategy_plugin.SupervisedPlugin
    return {n: c for n, c in found.items() if not issubclass(c, BYSTANDERS) and c is not base}


def test_all_of_avalanches_plugins_are_known():
    assert {"ReplayPlugin", "GDumbPlugin", "EWCPlugin", "LwFPlugin", "AGEMPlugin", "BiCPlugin"} < set(of_avalanche())


@pytest.mark.parametrize("plugin", of_avalanche())
def test_avalanches_methods_are_refused_beside_ours(plugin):
    other = of_avalanche()[plugin].__new__(of_avalanche()[plugin])  # its options do not matter: it is not called
    for name in ("icarl", "replay", "ewc"):
        made = strategy(Module(), Plugin(toy.make(name)))
        made.plugins.insert(0, other)
        with pytest.raises(UserError, match=f"Avalanche's {plugin} .* does not work beside"):
            Plugin.before_training(made.plugins[1], made)


def test_the_refusal_comes_before_the_first_step():
    model = Module()
    before = Net(model).vector()
    with pytest.raises(UserError, match="Avalanche's ReplayPlugin"):
        train(strategy(model, Plugin(methods.make("icarl", K=12)), ReplayPlugin(12)), bench().train_stream)
    with pytest.raises(UserError, match="two methods in one strategy"):
        train(strategy(model, Plugin(methods.make("naive")), Plugin(methods.make("naive"))), bench().train_stream)
    assert torch.equal(Net(model).vector(), before)


@pytest.mark.parametrize("given", ["ewc", methods.find("ewc"), None])
def test_what_is_no_method_is_refused(given):
    with pytest.raises(UserError, match=r'give a method, as in Plugin\(methods.make\("ewc", lam=1.0\)\), got'):
        Plugin(given)


class Interrupts(SupervisedPlugin):
    """Stops the training of an experience as Ctrl-C does."""

    def before_update(self, strategy, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_an_interrupted_experience_is_not_taken_for_one_more_task(scenario, tmp_path):
    def fresh():
        return strategy(Module(), Plugin(methods.make("si", c=1.0), scenario))

    first, second, _ = bench().train_stream
    made, file = fresh(), tmp_path / "first"
    made.train(first)
    save_checkpoint(made, file, exclude=["optimizer"])
    made.plugins.append(Interrupts())
    with pytest.raises(KeyboardInterrupt):
        made.train(second)
    made.plugins.pop()
    for _ in range(2):
        with pytest.raises(UserError, match="experience 2 was interrupted"):
            made.train(second)
    before, _ = maybe_load_checkpoint(fresh(), file)  # as the message says
    before.optimizer = torch.optim.SGD(before.model.parameters(), lr=0.05)
    before.train(second)
    (plugin,) = (plugin for plugin in before.plugins if isinstance(plugin, Plugin))
    assert len(plugin.owned) == 2


@pytest.mark.parametrize("name", NAMES)
def test_every_method_can_be_evaluated_in_mid_task(name):
    """Avalanche's users evaluate in every epoch; predictions stay among the units of the classes seen."""
    plugin = Plugin(toy.make(name))
    made = strategy(Module(), plugin, eval_every=1)
    stream, seen = bench(), set()
    for experience in stream.train_stream:
        seen |= set(experience.classes_in_this_experience)
        found = []
        made.plugins.append(Predictions(plugin, found))
        made.train(experience, eval_streams=[stream.test_stream])
        made.plugins.pop()
        assert found and set(found) <= seen


class Predictions(SupervisedPlugin):
    """Notes what is predicted, once there is a task; before, the outputs are the model's."""

    def __init__(self, plugin, found):
        super().__init__()
        self.plugin, self.found = plugin, found

    def after_eval_iteration(self, strategy, **kwargs):
        if self.plugin.net is not None:
            self.found += strategy.mb_output.argmax(-1).tolist()


def test_labels_that_restart_are_refused_unless_tasks_share_their_units():
    restart = bench(task_labels=True, class_ids_from_zero_in_each_exp=True)
    for scenario in ("task", "class"):
        model = Module()
        made = strategy(model, Plugin(methods.make("naive"), scenario))
        made.train(restart.train_stream[0])
        before = Net(model).vector()
        with pytest.raises(UserError, match=r"experience 2 has the units \[0, 1\] of experience 1"):
            made.train(restart.train_stream[1])
        assert torch.equal(Net(model).vector(), before)
    train(strategy(Module(), Plugin(methods.make("naive"), "domain")), restart.train_stream)
    plugin = Plugin(methods.make("naive"), "class", classes_return=True)
    train(strategy(Module(), plugin), restart.train_stream)
    assert plugin.owned == [[0, 1]] * 3


def test_an_experience_without_the_list_of_its_classes():
    """A benchmark of Avalanche's own conversion has none: the units are those of the targets."""
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset

    sets, (x, y) = [], data().tensors
    for rows in (y < 3, y >= 3):
        part = TensorDataset(x[rows], y[rows])
        part.targets = y[rows].tolist()
        sets.append(as_classification_dataset(part))
    stream = benchmark_from_datasets(train=sets, test=sets)
    made = strategy(Module(), Plugin(methods.make("naive"), "task"))
    assert not hasattr(stream.train_stream[0], "classes_in_this_experience")
    train(made, stream.train_stream)
    made.eval(stream.test_stream)


class Pictures(TensorDataset):
    def __getitem__(self, index):
        return "a picture", super().__getitem__(index)[1]


def test_items_that_are_no_tensors_are_refused():
    pictures = Pictures(*data().tensors)
    pictures.targets = data().targets
    stream = nc_benchmark(pictures, pictures, 3, task_labels=False).train_stream
    with pytest.raises(UserError, match=r"must be tensors, got str: add torchvision's ToTensor\(\)"):
        train(strategy(Module(), Plugin(methods.make("naive"))), stream)


def test_batch_norm_without_running_statistics():
    model = nn.Sequential(nn.Linear(8, 9), nn.BatchNorm1d(9, track_running_stats=False), nn.ReLU(), nn.Linear(9, 6))
    made = strategy(model, Plugin(methods.make("naive")), train_mb_size=10)
    assert bool(train(made, bench().train_stream).isfinite().all())


@pytest.mark.parametrize("name", ["icarl", "rwalk"])
def test_avalanches_own_model_serves_methods_that_read_features(name):
    options = {"K": 12} if name == "icarl" else {"lam": 1.0, "sampler": "plane_distance", "per_class": 2}
    model = SimpleMLP(num_classes=6, input_size=8, hidden_size=9, drop_rate=0.0)
    made = strategy(model, Plugin(methods.make(name, **options)))
    assert bool(train(made, bench().train_stream).isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_avalanches_checkpoint_goes_on_to_the_same_numbers(name, tmp_path):
    """Avalanche 0.6.0 cannot save a torch optimiser, so it is left out, and its state is kept beside the file."""

    def fresh():
        made = strategy(Module(), Plugin(toy.make(name)))
        made.optimizer = torch.optim.Adam(made.model.parameters(), lr=0.01)
        return made

    stream, file, beside = bench().train_stream, tmp_path / "strategy", tmp_path / "optimizer.pt"
    torch.manual_seed(0)
    made = fresh()
    made.train(stream[0])
    save_checkpoint(made, file, exclude=["optimizer"])
    torch.save(made.optimizer.state_dict(), beside)
    torch.manual_seed(1)
    whole = train(made, stream[1:])

    again, done = maybe_load_checkpoint(fresh(), file)
    again.optimizer = torch.optim.Adam(again.model.parameters(), lr=0.01)
    again.optimizer.load_state_dict(torch.load(beside, weights_only=True))
    torch.manual_seed(1)
    assert done == 1 and torch.equal(train(again, stream[done:]), whole)


class WithDecay(Naive):
    def criterion(self):
        return super().criterion() + sum(p.square().sum() for p in self.model.parameters())


@pytest.mark.parametrize(
    ("kind", "what", "options"),
    [
        (WithDecay, "WithDecay has a `criterion`", {}),
        (ER_ACE, "ER_ACE has a `training_epoch`", {"mem_size": 20}),
    ],
)
def test_a_strategy_whose_own_loss_would_be_lost_is_refused(kind, what, options):
    model = Module()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    made = kind(model=model, optimizer=optimizer, plugins=[Plugin(methods.make("naive"))], evaluator=None, **options)
    with pytest.raises(UserError, match=f"^{what} of its own"):
        made.train(bench().train_stream[0])


def test_a_plugin_inside_a_strategy_of_avalanche_is_refused():
    model = Module()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    own = {"memory_size": 20, "buffer_transform": None, "fixed_memory": True}
    plugins = [Plugin(methods.make("naive"))]
    own |= {"feature_extractor": model.body, "classifier": model.head, "optimizer": optimizer}
    made = ICaRL(plugins=plugins, evaluator=None, **own)
    with pytest.raises(UserError, match="Avalanche's _ICaRLPlugin changes"):
        made.train(bench().train_stream[0])

"""Use any method here inside an Avalanche strategy:

    plugin = Plugin(make("ewc", lam=100.0))
    strategy = Naive(model=model, optimizer=optimizer, plugins=[plugin])
    strategy.train(experience)

Each experience that is trained on is a task. In each step the strategy differentiates the method's loss by theta, a
copy of the model's parameters. The method changes this gradient, and the result becomes the parameters' gradient. The
strategy's optimiser takes the step. The method predicts, too.

What to know:

- The model is one network with one head of all units, from the start. Where each task has a head, its units are the
  classes of its experience, numbered through the stream (`class_ids_from_zero_from_first_exp`).
- The strategy's criterion is not used. Its forward pass is still made, in evaluation mode, so that batch statistics and
  dropout move once in a step. Training metrics see the outputs of this pass.
- In evaluation the outputs are 1 at the predicted unit and 0 elsewhere. So an evaluation loss says nothing.
- A method sees an experience with its evaluation transforms. Methods that add examples (rehearsal, iCaRL) also train on
  these.
- Early stopping is refused beside SI, RWalk and EWC++, which add up over steps that it would undo.
- A penalty that another plugin adds to the loss would be lost. So plugins of Avalanche that add one are refused. So are
  those that keep a memory or a model of their own, and strategies with a loss or a loop of their own.
- Your own plugin may change gradients in `after_backward` if Plugin is listed first, or in `before_update`. One that
  is listed before Plugin and acts on the loss or its gradient is refused. So is one that changes the loss.
- A plugin belongs to one run of one model. A new run needs a new plugin. Another model in its place is refused.
- Avalanche gives every parameter to the optimiser when training begins, also if the user gave it only some.
- An experience whose training was interrupted is not trained again: the method has seen a part of it.
- `save_checkpoint` of Avalanche 0.6.0 fails for a strategy with a torch optimiser, also without a plugin. Leave the
  optimiser out and keep its state in a second file:
      save_checkpoint(strategy, file, exclude=["optimizer"]); torch.save(strategy.optimizer.state_dict(), other)
  After `maybe_load_checkpoint` make a new optimiser of the parameters of the strategy's model, and give it the state.
"""

from contextlib import nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F
from avalanche.benchmarks.utils import AvalancheDataset, DataAttribute
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import is_multi_task_module
from avalanche.training.plugins import EarlyStoppingPlugin, EvaluationPlugin, LRSchedulerPlugin
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval
from avalanche.training.templates.problem_type.supervised_problem import SupervisedProblem
from avalanche.training.templates.update_type.sgd_update import SGDUpdate
from torch import Tensor
from torch.utils.data import TensorDataset

from methods.base.errors import UserError
from methods.base.examples import Examples, Part, Task, mask_of, usable_units
from methods.base.method import Method
from methods.base.net import Net
from methods.base.rng import generator
from methods.importance.training_pass import Squares

# These plugins of Avalanche change neither the loss nor the data. They work beside a method.
BYSTANDERS = (Clock, EarlyStoppingPlugin, EvaluationPlugin, LRSchedulerPlugin, PeriodicEval)
# What a strategy computes here is replaced by the method, so nothing of its own may be there.
REPLACED = {"training_epoch": SGDUpdate, "forward": SupervisedProblem, "criterion": SupervisedProblem}


class Plugin(SupervisedPlugin):
    """Run a method as a plugin of a `SupervisedTemplate`. What the method draws depends on `seed` alone.

    scenario: "class", the units of the classes seen so far; "domain", all units; "task", those of the experience.
    classes_return: whether an experience may bring units of an earlier one, in "class" and "task".
    """

    def __init__(self, method: Method, scenario: str = "class", seed: int = 0, classes_return: bool = False):
        super().__init__()
        if not isinstance(method, Method):
            raise UserError(f'give a method, as in Plugin(methods.make("ewc", lam=1.0)), got {method!r}')
        name = type(method).__name__
        if scenario not in method.scenarios:
            raise UserError(f"{name} does not run in scenario {scenario!r}: it is for {', '.join(method.scenarios)}")
        if method.joins_tasks:
            raise UserError(f"{name} trains on all tasks together: train on one experience that holds them")
        if method.overrides("grow"):
            raise UserError(f"{name} adds parameters to the network, which here is the strategy's: train it by `learn`")
        for hook in ("next_phase", "shrink"):
            if method.overrides(hook):
                raise UserError(f"{name} has `{hook}`, for which a strategy has no place: train it by `learn`")
        self.method = replace(method)  # a copy, because several plugins may be given one method object
        self.scenario, self.seed, self.classes_return = scenario, seed, classes_return
        self.net: Net | None = None
        self.owned: list[list[int]] = []  # the units of each task so far
        self.in_task = False

    def before_training(self, strategy, **kwargs):
        """Refuse what would go wrong without a word."""
        others = [plugin for plugin in strategy.plugins if plugin is not self]
        if any(isinstance(plugin, Plugin) for plugin in others):
            raise UserError("two methods in one strategy: each would take the other's gradient; give one Plugin")
        kind = type(strategy)
        for name, usual in REPLACED.items():
            if getattr(kind, name) is not getattr(usual, name):
                raise UserError(
                    f"{kind.__name__} has a `{name}` of its own, which would be lost: take a strategy that adds "
                    "nothing, as Naive"
                )
        sums_over_steps = self.method.overrides("after_step") or self.method.wants_squares
        for plugin in others:
            if type(plugin).__module__.startswith("avalanche.training.") and not isinstance(plugin, BYSTANDERS):
                raise UserError(
                    f"Avalanche's {type(plugin).__name__} changes the loss, the data or the model and does not work "
                    f"beside {type(self.method).__name__}: leave one of the two out"
                )
            if isinstance(plugin, EarlyStoppingPlugin) and sums_over_steps:
                raise UserError(
                    f"Avalanche's {type(plugin).__name__} puts earlier weights back, and {type(self.method).__name__} "
                    "adds up over the steps that this undoes: leave one of the two out"
                )
        for earlier in map(type, strategy.plugins[: strategy.plugins.index(self)]):
            for hook in ("before_backward", "after_backward"):
                usual = getattr(SupervisedPlugin, hook)
                if getattr(earlier, hook, usual) is not usual:
                    raise UserError(
                        f"{earlier.__name__}.{hook} comes before Plugin, which replaces the loss and its gradient: "
                        "list Plugin first"
                    )

    def after_train_dataset_adaptation(self, strategy, **kwargs):
        """Begin a task. What is trained on may change here, because the data loader is made next."""
        if self.in_task:
            raise UserError(
                f"the training of experience {len(self.owned)} was interrupted, and the method has seen a part of it: "
                "load the strategy as it was before (save_checkpoint), or begin a new run with a new Plugin"
            )
        x, y = _tensors(strategy.experience.dataset.eval(), strategy.device)
        if self.net is None:
            self._begin(strategy.model, x)
        self._refuse_another_model(strategy.model)
        units = y.unique().tolist()
        self._check_units(units)
        self.owned.append(units)
        self.in_task = True
        self.masks = self._training_masks().to(y.device)
        train = Examples((Part(x, torch.arange(len(y), device=y.device), y, self.masks[y[0]]),))
        self.task = Task(self.scenario, len(self.owned) - 1, tuple(units), train, own_units=self.scenario == "task")
        changed = self.method.before_task(self.net.vector(), self.task)
        if changed is not self.task:
            strategy.adapted_dataset = _dataset(changed.train, getattr(strategy.experience, "task_labels", None))

    def before_training_exp(self, strategy, **kwargs):
        """Refuse a model that has changed. Avalanche adapts models between the data and the first batch."""
        self._refuse_another_model(strategy.model)
        if Net(strategy.model).shapes != self.net.shapes:
            raise UserError("the model's parameters changed between tasks: give it all its units from the start")

    def before_forward(self, strategy, **kwargs):
        """Keep the strategy's own forward pass from changing batch statistics and from drawing random numbers."""
        self.modes = [(module, module.training) for module in strategy.model.modules()]
        strategy.model.eval()

    def after_forward(self, strategy, **kwargs):
        """Set the modes back."""
        for module, mode in self.modes:
            module.training = mode

    def before_backward(self, strategy, **kwargs):
        """Put the method's loss in the place of the strategy's."""
        self.theta = self.net.vector().requires_grad_()
        with self.squares.watch(self.theta.detach(), strategy.mb_x) if self.method.wants_squares else nullcontext():
            strategy.loss = self.method.loss(self.theta, strategy.mb_x, strategy.mb_y, self.masks[strategy.mb_y])
        self.loss = strategy.loss, strategy.loss._version

    def after_backward(self, strategy, **kwargs):
        """Give the parameters the gradient to descend."""
        loss, version = self.loss
        if strategy.loss is not loss or loss._version != version:
            raise UserError("another plugin changed the loss after Plugin, and its part would be lost: leave it out")
        self.loss = None
        theta = self.theta.detach()
        self.grad = self.method.after_backward(theta, self.theta.grad)
        descent = self.method.add_penalty_grad(theta, self.grad)
        if self.method.wants_squares:
            batch = strategy.mb_x, strategy.mb_y, self.masks[strategy.mb_y]
            self.method.after_squares(lambda total: self.squares.add_mean(total, theta, *batch))
        parameters = dict(strategy.model.named_parameters())
        for name, piece in self.net.views(descent).items():
            parameters[name].grad = piece.clone()  # other plugins may change it in place

    def after_update(self, strategy, **kwargs):
        """Tell the method of the step that the optimiser has taken."""
        if self.method.overrides("after_step"):
            self.method.after_step(self.theta.detach(), self.net.vector(), self.grad)

    @torch.no_grad()
    def after_training_exp(self, strategy, **kwargs):
        """End the task after its last batch."""
        self.method.after_task(self.net.vector(), self.task)
        self.in_task = False

    def before_eval_exp(self, strategy, **kwargs):
        """Set the units that a prediction for the experience may use."""
        if self.net is not None:
            self._refuse_another_model(strategy.model)
            self.test_mask = self._test_mask(strategy.experience).to(strategy.device)

    def after_eval_forward(self, strategy, **kwargs):
        """Make the method's prediction the largest output. Before the first task the model's outputs stay."""
        if self.net is None:
            return
        predicted = self.method.predict(self.net.vector(), strategy.mb_x, self.test_mask)
        strategy.mb_output = F.one_hot(predicted, self.n_units).to(strategy.mb_output.dtype)

    @torch.no_grad()
    def _begin(self, model: torch.nn.Module, x: Tensor) -> None:
        if is_multi_task_module(model):
            raise UserError("the model needs task labels: give one network with one head, of the units of all tasks")
        self.net = Net(model)
        self.layers = list(model.modules())
        self.squares = Squares(self.net)
        theta = self.net.vector()
        self.n_units = self.net.n_outputs(theta, x)
        self.method.begin(self.net, theta, self._generator)

    def _generator(self, role: str, task: int, replica: int = 0) -> torch.Generator:
        return generator(self.seed, role, task)

    def _refuse_another_model(self, model: torch.nn.Module) -> None:
        """Refuse another model. The method's state is of one model, and its gradients would go to that one."""
        if model is not self.net.module:
            raise UserError(
                "the plugin has trained another model than the strategy's: give a new run a new Plugin, and keep the "
                "model object of a run (a copy is another one)"
            )
        known = set(map(id, self.layers))
        if changed := [name for name, module in model.named_modules() if id(module) not in known]:
            raise UserError(f"the layer {changed[0]!r} of the model is another than before: change no layer in a run")

    def _check_units(self, units: list[int]) -> None:
        if units[0] < 0 or units[-1] >= self.n_units:
            raise UserError(f"labels {units} for a model of {self.n_units} outputs: give it all units from the start")
        if self.scenario == "domain" or self.classes_return:
            return
        for k, earlier in enumerate(self.owned, start=1):
            if shared := sorted(set(units) & set(earlier)):
                raise UserError(
                    f"experience {len(self.owned) + 1} has the units {shared} of experience {k}: number the classes "
                    "through the stream (class_ids_from_zero_from_first_exp), take scenario 'domain', or say "
                    "classes_return=True"
                )

    def _training_masks(self) -> Tensor:
        """Return [C, C]: the mask under which an example of each unit is trained."""
        masks = torch.zeros(self.n_units, self.n_units)
        for k, units in enumerate(self.owned):
            masks[units] = mask_of(usable_units(self.scenario, self.owned, k, self.n_units), self.n_units)
        return masks

    def _test_mask(self, experience) -> Tensor:
        """Return the mask [C] of a prediction for an experience.

        Where each task has a head, it is that of the first learnt task which has the experience's classes. A test set
        that lacks one of them tells nothing. Of a task not learnt yet, the experience's classes alone are known.
        """
        if self.scenario == "task":
            labels = {int(y) for y in experience.dataset.targets}
            head = next((units for units in self.owned if labels <= set(units)), sorted(labels))
            return mask_of(head, self.n_units)
        return mask_of(usable_units(self.scenario, self.owned, len(self.owned) - 1, self.n_units), self.n_units)


def _tensors(dataset, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return inputs [N, ...] and labels [N] of a data set's items, in order."""
    items = [dataset[n] for n in range(len(dataset))]
    if not items:
        raise UserError("the training set of an experience is empty: every task needs at least one example")
    if not isinstance(items[0][0], Tensor):
        kind = type(items[0][0]).__name__
        raise UserError(f"the items of an experience must be tensors, got {kind}: add torchvision's ToTensor()")
    x = torch.stack([item[0] for item in items])
    return x.to(device), torch.tensor([int(item[1]) for item in items], device=device)


def _dataset(examples: Examples, task_labels: list[int] | None) -> AvalancheDataset:
    """Return examples as Avalanche's data set. All bear the task label of the experience, if it has one."""
    x, y, _ = examples.take(torch.arange(len(examples)))
    attributes = [DataAttribute(y.tolist(), "targets")]
    if task_labels is not None:
        attributes.append(DataAttribute([task_labels[0]] * len(y), "targets_task_labels", use_in_getitem=True))
    return AvalancheDataset([TensorDataset(x.cpu(), y.cpu())], data_attributes=attributes)

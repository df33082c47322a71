"""What a method holds: no data beyond its declared memory, and no more after fifty tasks than after two."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

import methods
from benchmarks.learner import fit
from methods.base.rng import generator
from methods.memory.ring import Ring
from methods.memory.samplers import SAMPLERS
from tests.support import toy

MEMORIES = [  # options; how many examples the memory may hold: in total, and for each task (of two classes)
    ("replay", {"memory": 20, "batch_memory": 8}, 20, 0),
    ("rehearsal", {"budget": 18}, 18, 0),
    ("icarl", {"K": 24}, 24, 0),
    ("gem", {"per_task": 9}, 0, 9),
    ("agem", {"per_class": 4}, 0, 2 * 4),
    *[("rwalk", {"sampler": sampler, "per_class": 3}, 0, 2 * 3) for sampler in SAMPLERS],
]
CLASSES = {name: cls for name in methods.names() if not (cls := methods.find(name)).joins_tasks}
ALWAYS = {name for name, *_ in MEMORIES} - {"rwalk"}  # RWalk's is optional
NO_MEMORY = [(name, {}, 0, 0) for name in CLASSES if name not in ALWAYS]
CASES = [(*case, scenario) for case in MEMORIES + NO_MEMORY for scenario in CLASSES[case[0]].scenarios]
ANCHORED = [("l2", {"per_task": True}), *[(name, {}) for name, cls in CLASSES.items() if cls.strength]]


def held(root, kinds):
    """Every object of these kinds that can be reached from `root` by attributes, containers and closures."""
    todo, seen, found = [root], set(), []
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, kinds):
            found.append(each)
        elif isinstance(each, Mapping):
            todo += each.values()
        elif isinstance(each, list | tuple | set):
            todo += each
        else:
            todo += getattr(each, "__dict__", {}).values()
            todo += [cell.cell_contents for cell in getattr(each, "__closure__", None) or ()]
    return found


def storages(tensors):
    """What the tensors are views of: bytes by address."""
    return {(whole := tensor.untyped_storage()).data_ptr(): whole.nbytes() for tensor in tensors}


def n_examples(method):
    """How many examples the method holds, whatever holds them; places of a ring that were never filled hold none."""
    images = storages(tensor for tensor in held(method, Tensor) if tensor.shape[-3:] == toy.SHAPE)
    empty = [len(ring.x) - len(ring.examples()) for ring in held(method, Ring) if ring.seen is not None]
    return sum(images.values()) // (8 * 16) - sum(empty)  # 16 pixels in float64


def train(method, theta, task):
    fit(method, theta, task, toy.TRAIN.make_optimizer(theta), toy.TRAIN, [generator(1, "batches", task.index)])
    with torch.no_grad():
        method.after_task(theta.clone(), task)


@pytest.mark.parametrize(("name", "options", "total", "each", "scenario"), CASES)
def test_no_step_leaves_more_examples_than_declared_and_each_task_leaves_as_many(name, options, total, each, scenario):
    stream, method, counts = toy.stream(scenario), toy.make(name, **options), []
    theta = toy.begin(method, stream)
    real = method.add_penalty_grad

    def add_penalty_grad(theta, grad):
        counts.append(n_examples(method))
        return real(theta, grad)

    method.add_penalty_grad = add_penalty_grad
    for k, task in enumerate(stream.tasks, 1):
        train(method, theta, task)
        assert max(counts) <= n_examples(method) == total + each * k
    assert len(counts) >= 2 * sum(len(task.train) // 16 for task in stream.tasks)


@pytest.mark.parametrize(("name", "options", "total", "each", "scenario"), CASES)
def test_nothing_held_after_a_task_is_part_of_its_data(name, options, total, each, scenario):
    """Neither pixels, places nor labels: what a memory keeps are copies. (A mask is no data: it names units.)"""
    stream, method = toy.stream(scenario), toy.make(name, **options)
    parts = [part for task in stream.tasks for part in task.train.parts]
    data = storages(array for part in parts for array in (part.source, part.rows, part.y))
    theta = toy.begin(method, stream)
    for task in stream.tasks:
        train(method, theta, task)
        found = storages(held(method, Tensor))
        assert found and not found.keys() & data.keys()


@pytest.mark.parametrize(("name", "options"), ANCHORED)
def test_what_is_held_is_as_large_after_fifty_tasks_as_after_two(name, options):
    """Bytes of all tensors that the method holds: offline EWC's one term for each task is one quadratic, too."""
    stream, sizes = toy.stream("domain", sizes=[2] * 50), []
    for n_tasks in (2, 50):
        method = toy.make(name, **options)
        toy.after_tasks(method, stream, n_tasks)
        sizes.append(sum(storages(held(method, Tensor)).values()))
    assert sizes[0] == sizes[1] > 0

"""Experience replay a second time: the memory is a list, searched from end to end for every example that comes."""

from typing import NamedTuple

import torch
from torch import Tensor

from methods.base.rng import generator
from tests.support.slow import Example, listed, loop, mean_loss
from tests.support.slow_methods import under


class Entry(NamedTuple):
    group: int | tuple[int, int]  # 0 in the reservoir, otherwise task and unit
    number: int  # in the order in which they came
    example: Example


def replay(
    module,
    stream,
    train,
    seed,
    batch_memory,
    memory=None,
    per_class=None,
    buffer="reservoir",
    weighting="joint",
    replay_current=False,
) -> Tensor:
    """Chaudhry et al., with the buffers and weightings of methods/replay.py."""
    kept, counts, draws, now = [], {}, {}, {}

    def draw(role):
        key = role, now["task"].index
        return draws.setdefault(key, generator(seed, *key))

    def replayed(task):
        now.update(task=task, old=[])
        if kept and not (weighting == "vdv" and task.index == 0):
            places = torch.randperm(len(kept), generator=draw("replay")).tolist()[:batch_memory]
            now["old"] = [under(kept[place].example, listed(task.train), stream) for place in places]
        return now["old"]

    def loss(module, batch):
        B_m = len(now["old"])
        if B_m == 0:
            return mean_loss(module, batch)
        new, old = mean_loss(module, batch[:-B_m]), mean_loss(module, batch[-B_m:])
        B, k = len(batch) - B_m, now["task"].index + 1
        weight = {"joint": B / (B + B_m), "half": 0.5, "vdv": 1 / k}[weighting]
        return weight * new + (1 - weight) * old

    def project(grads, batch):
        if replay_current:
            remember(batch[: len(batch) - len(now["old"])])
        return grads

    def after_task(task):
        if not replay_current:
            remember(listed(task.train))

    def remember(examples):
        groups = [0 if buffer == "reservoir" else (now["task"].index, y) for _, y, _ in examples]
        fresh = sorted(set(groups) - set(counts))
        counts.update(dict.fromkeys(fresh, 0))
        if per_class is None:
            shares = {group: len(range(n, memory, len(counts))) for n, group in enumerate(counts)}  # dealt like cards
        else:
            shares = dict.fromkeys(counts, per_class)
        for group in list(counts)[: -len(fresh)] if fresh else []:
            own = [entry for entry in kept if entry.group == group]
            if len(own) > shares[group] and buffer == "ring":
                dropped = sorted(entry.number for entry in own)[: -shares[group]]
            elif len(own) > shares[group]:
                dropped = [own[n].number for n in torch.randperm(len(own), generator=draw(buffer))[shares[group] :]]
            else:
                dropped = []
            kept[:] = [entry for entry in kept if entry.number not in dropped]
        for group, example in zip(groups, examples, strict=True):
            counts[group] += 1
            entry = Entry(group, sum(counts.values()), example)
            own = [place for place, other in enumerate(kept) if other.group == group]
            if len(own) < shares[group]:
                kept.append(entry)
            elif buffer == "ring":
                kept[min(own, key=lambda place: kept[place].number)] = entry
            elif (n := int(torch.randint(counts[group], (), generator=draw(buffer)))) < len(own):
                kept[own[n]] = entry

    return loop(module, stream, train, seed, replay=replayed, loss=loss, project=project, after_task=after_task)

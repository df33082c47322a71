"""The loss of distillation, for each head that the teacher learnt. LwF and generative replay share it.

    KD = mean_n - sum_c softmax(v_n / T)_c log softmax(z_n / T)_c      v: outputs of the teacher, z: of the network

The sum is over the units of a head. Where tasks share units, all units of the tasks so far are one head.
"""

import torch
from torch import Tensor

from methods.base.examples import OFF, Task


def units(outputs: Tensor, head: Tensor) -> Tensor:
    """Return the outputs [..., C'] of a head's units, in their order. A head of all units costs no copy."""
    return outputs if len(head) == outputs.shape[-1] else outputs.index_select(-1, head)


def kept_heads(heads: list[Tensor], task: Task) -> list[Tensor]:
    """Return the units of each old head once a task has ended. Where tasks share units, all are one head.

    Units that return are the head that they were.
    """
    if not task.own_units:
        return [task.units]
    return heads if any(torch.equal(head, task.units) for head in heads) else [*heads, task.units]


def by_head(z: Tensor, v: Tensor, heads: list[Tensor], in_use: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Return the outputs z and the teacher's v [..., B, C'] of each old head.

    in_use: the units that the loss may use, where tasks share them. Of these, v is OFF where the old head has no unit.
    """
    if in_use is None:
        return [(units(z, head), units(v, head)) for head in heads]
    (head,) = heads
    off = max(OFF, torch.finfo(v.dtype).min)
    v = torch.full_like(v, off).index_copy(-1, head, units(v, head))
    return [(units(z, in_use), units(v, in_use))]


def distillation(logits: Tensor, targets: Tensor, T: float) -> Tensor:
    """Return the mean cross entropy [...] of softmax(logits / T) and softmax(targets / T), both [..., B, C], over B."""
    return -((targets / T).softmax(-1) * (logits / T).log_softmax(-1)).sum(-1).mean(-1)

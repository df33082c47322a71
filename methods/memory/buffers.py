"""A memory of M places cannot keep all examples that come. A buffer says which of them stay.

    reservoir        of the n that came, each with the same probability M / n (Vitter, 1985, algorithm R)
    class_balanced   an equal share for each class; of the n of a class, each with the same probability share / n
    ring             an equal share for each class, its last examples: first in, first out (Chaudhry et al., 2019)

Of k classes that came so far, the first M mod k have floor(M / k) + 1 places and the others floor(M / k). When classes
come, those before are cut to their new shares: at random, or in a ring to their last examples. Shares never grow. So a
class below its share has never been cut, and what is kept of a class stays uniform. A class with fewer examples than
its share leaves places empty.

The state is plain. A class is a group. In the reservoir all examples are one group. `places` are those of each group in
`kept`, in a ring the oldest first. `seen` counts what came of each group. `draws` is None in a ring, because nothing is
drawn there.
"""

import torch

from methods.base.examples import Examples, Part

BUFFERS = ("reservoir", "ring", "class_balanced")
Groups = dict[int, list[int]]


def fill(
    kept: Examples | None,
    new: Examples,
    groups: list[int],
    places: Groups,
    seen: dict[int, int],
    memory: int,
    draws: torch.Generator | None,
) -> Examples:
    """Return what is kept once `new` examples of `groups` came. `places` and `seen` are brought up to date."""
    arrived = sorted(set(groups) - set(places))
    if arrived:
        places |= {group: [] for group in arrived}
        seen |= dict.fromkeys(arrived, 0)
        stay = cut(places, memory, draws)
        kept = kept and kept.select(torch.tensor(stay))
    return write(kept, new, give_places(places, seen, groups, memory, draws))


def shares(places: Groups, memory: int) -> dict[int, int]:
    """Return how many places each group may have."""
    least, rest = divmod(memory, len(places))
    return {group: least + (rank < rest) for rank, group in enumerate(places)}


def cut(places: Groups, memory: int, draws: torch.Generator | None) -> list[int]:
    """Cut every group to its share and close the gaps. Return the old places that stay, in order."""
    for group, share in shares(places, memory).items():
        own = places[group]
        if len(own) > share:
            chosen = range(-share, 0) if draws is None else torch.randperm(len(own), generator=draws)[:share].tolist()
            places[group] = [own[n] for n in sorted(chosen)]
    stay = sorted(place for own in places.values() for place in own)
    moved = {old: new for new, old in enumerate(stay)}
    for group, own in places.items():
        places[group] = [moved[place] for place in own]
    return stay


def give_places(
    places: Groups, seen: dict[int, int], groups: list[int], memory: int, draws: torch.Generator | None
) -> dict[int, int]:
    """Return {place: index of the new example that takes it}. Of several for one place, the last takes it."""
    room, used, chosen = shares(places, memory), sum(map(len, places.values())), {}
    for n, group in enumerate(groups):
        own = places[group]
        seen[group] += 1
        if len(own) < room[group]:
            own.append(used)
            used += 1
            chosen[own[-1]] = n
        elif draws is None:
            own.append(own.pop(0))
            chosen[own[-1]] = n
        elif (rank := int(torch.randint(seen[group], (), generator=draws))) < len(own):
            chosen[own[rank]] = n
    return chosen


def write(kept: Examples | None, new: Examples, chosen: dict[int, int]) -> Examples | None:
    """Return `kept` with the new examples at their places. Those beyond the places in use are appended."""
    used = len(kept) if kept else 0
    over = {place: n for place, n in chosen.items() if place < used}
    if over:
        (part,) = kept.parts
        at = torch.tensor(list(over))
        part.source[at], part.y[at], part.mask[at] = new.take(torch.tensor(list(over.values())))
    beyond = [chosen[place] for place in sorted(chosen) if place >= used]
    if beyond:
        added = new.select(torch.tensor(beyond))
        kept = _append(kept, added) if kept else added
    return kept


def _append(kept: Examples, added: Examples) -> Examples:
    """Return `kept` with more examples.

    The room for pixels doubles when it ends. So a memory that grows step by step is copied a few times, not in each.
    """
    (part,), (more,) = kept.parts, added.parts
    used, n, source = len(part.rows), len(part.rows) + len(more.rows), part.source
    if len(source) < n:
        source = torch.cat([source, source.new_empty(max(n, 2 * used) - used, *source.shape[1:])])
    source[used:n] = more.source
    rows = torch.arange(n, device=part.rows.device)
    return Examples((Part(source, rows, torch.cat([part.y, more.y]), torch.cat([part.mask, more.mask])),))

"""Rows of a table that measure one thing in different ways belong together, under the words that they share."""

from itertools import takewhile

from paper_tables.declaration import Row, Table


def groups(table: Table) -> dict[str, list[Row]]:
    """Return the rows of a table by the words that they share. A group measures no scenario twice in the same way.

    Rows with the same runs are a group. A row whose label continues that of another, as in "EWC" and "EWC forgetting",
    joins it if both have the same method on the same stream, or none.
    """
    found: list[list[Row]] = []
    for row in table.rows:
        fitting = [group for group in found if _fits(row, group)]
        if fitting:
            max(fitting, key=lambda group: len(group[0].label)).append(row)
        else:
            found.append([row])
    names = [common([row.label for row in group]) for group in found]
    return {name if names.count(name) == 1 else group[0].label: group for name, group in zip(names, found, strict=True)}


def _fits(row: Row, group: list[Row]) -> bool:
    if any(row.metric == other.metric and set(row.scenarios) & set(other.scenarios) for other in group):
        return False
    first = group[0]
    if (row.method, row.stream) != (first.method, first.stream):
        return False
    continues = row.label.startswith(f"{first.label} ")
    return continues or (row.method is not None and row.train == first.train)


def common(labels: list[str]) -> str:
    """Return the words with which some labels begin, or the first label."""
    words = takewhile(lambda alike: len(set(alike)) == 1, zip(*(label.split() for label in labels), strict=False))
    return " ".join(alike[0] for alike in words).removesuffix(" after").rstrip(",:") or labels[0]

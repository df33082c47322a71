"""This module writes Markdown that reads well in a terminal, too: tables whose columns line up, and lists."""

import textwrap
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], body: Sequence[Sequence[str]], left: Sequence[bool] | None = None) -> str:
    """Return the table without a final line break. left: which columns begin at the left, by default only the first."""
    left = [True] + [False] * (len(header) - 1) if left is None else left
    lines = [[text.replace("|", "\\|") for text in line] for line in (header, *body)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rules = ["-" * width if begins else "-" * (width - 1) + ":" for width, begins in zip(widths, left, strict=True)]
    texts = [
        [t.ljust(width) if begins else t.rjust(width) for t, width, begins in zip(line, widths, left, strict=True)]
        for line in (lines[0], rules, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in texts)


def bullets(notes: Iterable[str], width: int) -> str:
    """Return a list of the notes, without a final line break."""
    return "\n".join(
        textwrap.fill(f"- {note}", width, subsequent_indent="  ", break_long_words=False) for note in notes
    )

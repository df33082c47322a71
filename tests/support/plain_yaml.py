"""A reader of plain YAML: block mappings and sequences, lists of words in brackets, and scalars of one line.

No YAML package is among the pinned ones. What this reader does not know, it refuses. Scalars stay texts, as the
key `on` must, and an empty value is "".
"""

import re

KEY = re.compile(r"([A-Za-z][\w-]*):(?: (.*))?")


def load(text):
    """The mapping that the text holds."""
    assert "\t" not in text, "a tab"
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            lines.append((number, len(line) - len(line.lstrip(" ")), line.strip()))
    value = _block(lines, 0)
    assert not lines, f"line {lines[0][0]}: its indentation fits nothing above it"
    return value


def _block(lines, indent):
    """Take the lines of one mapping or sequence off the front."""
    return _sequence(lines, indent) if lines[0][2].startswith("- ") else _mapping(lines, indent)


def _sequence(lines, indent):
    items = []
    while lines and lines[0][1] == indent and lines[0][2].startswith("- "):
        number, _, text = lines[0]
        if KEY.fullmatch(text[2:]):
            lines[0] = (number, indent + 2, text[2:])
            items.append(_mapping(lines, indent + 2))
        else:
            lines.pop(0)
            items.append(_scalar(text[2:], number))
    return items


def _mapping(lines, indent):
    found = {}
    while lines and lines[0][1] == indent and not lines[0][2].startswith("- "):
        number, _, text = lines.pop(0)
        match = KEY.fullmatch(text)
        assert match, f"line {number}: not a key with its value: {text!r}"
        key, value = match.groups()
        assert key not in found, f"line {number}: {key} is there twice"
        if value is None and lines and lines[0][1] > indent:
            found[key] = _block(lines, lines[0][1])
        else:
            found[key] = _scalar(value or "", number)
    return found


def _scalar(text, number):
    if match := re.fullmatch(r"\[([\w-]+(?:, [\w-]+)*)\]", text):
        return match[1].split(", ")
    if match := re.fullmatch(r'"([^"\\]*)"', text):
        return match[1]
    plain = text == "" or (re.match(r"[\w.]", text) and ": " not in text and " #" not in text and text[-1] != ":")
    assert plain, f"line {number}: not plain YAML: {text!r}"
    return text

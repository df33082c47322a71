"""`make docs` builds the site: the pages docs/*.md and the docstrings of the three floors. It needs no network.

pdoc renders modules. So each page is shown to it as a module `guide.<page>`, whose docstring is the page.
"""

import importlib.util
import json
import os
import pkgutil
import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs"
FLOORS = ("methods", "benchmarks", "paper_tables")
APART = re.compile(r"benchmarks\.audit\.(?!base\b)")  # each runs in an environment of its own, with another library
SITE = ROOT / "results" / "local" / "site"
GUIDE = "guide"
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)")  # to a file: [text](file#part)
PICTURE = re.compile(r"\]\(([^)]+\.png)\)")


def main() -> None:
    """Build the site anew and say where it is."""
    if importlib.util.find_spec("pdoc") is None:
        sys.exit("error: pdoc is not installed: make setup")
    size = build(SITE)
    print(f"{os.path.relpath(SITE / 'index.html')}, {size / 1e6:.1f} MB: open it in a browser")


def build(site: Path) -> int:
    """Write the site and return its bytes. A site that was there stays until the new one is whole."""
    import pdoc
    from pdoc import render, render_helpers, search
    from pygments.formatters import HtmlFormatter

    from methods.base.options import Bound

    pages = _pages()
    modules = {name: pdoc.doc.Module(module) for name, module in (pages | _code()).items()}
    titles = {name: page.__doc__.partition("\n")[0].removeprefix("# ") for name, page in pages.items()}
    dark = HtmlFormatter(style="github-dark").get_style_defs(".pdoc-code")
    render.env.globals.update(titles=titles, dark_code=dark)
    render_helpers.formatter = HtmlFormatter(cssclass="pdoc-code")  # without an anchor for each line: half the size
    render.configure(docformat="markdown", template_directory=PAGES / "templates")
    with patch.object(Bound, "__repr__", lambda bound: repr(bound.wanted)):  # else with the address of a function
        files = {name.replace(".", "/") + ".html": render.html_module(m, modules) for name, m in modules.items()}
        documented = search.make_index(modules, _is_found, "markdown")
    files["search.js"] = render.env.get_template("search.js.jinja2").render(search_index=json.dumps(documented))
    files["style.css"] = render.env.get_template("style.css").render()
    files["index.html"] = files[f"{GUIDE}.html"]
    files = {name: _impersonal(text) for name, text in files.items()}
    site.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.parent, prefix=".site-") as folder:
        new = Path(folder) / "site"
        for name, text in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_text(text, encoding="utf-8")
        (new / "pictures").mkdir()
        for page in PAGES.glob("*.md"):
            for picture in PICTURE.findall(page.read_text(encoding="utf-8")):
                shutil.copy(PAGES / picture, new / "pictures")
        size = sum(file.stat().st_size for file in new.rglob("*"))
        shutil.rmtree(site, ignore_errors=True)
        new.rename(site)
    return size


def _impersonal(text: str) -> str:
    """Return the text without the folder and the addresses that values show where they are printed."""
    return re.sub(r" at 0x[0-9a-f]+", "", text.replace(str(ROOT), "."))


def _is_found(doc) -> bool:
    """Say whether the search finds an object. pdoc's own index has all, and is another one where Node.js is there."""
    return bool(doc.docstring) and not doc.name.startswith("_")


def _pages() -> dict[str, ModuleType]:
    """Return the pages as modules: docs/index.md is `guide`, and the others follow in its order."""
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    order = [link for _, link, _ in LINK.findall(index) if link in {file.name for file in PAGES.glob("*.md")}]
    pages = {}
    for file in ["index.md", *order]:
        name = GUIDE if file == "index.md" else f"{GUIDE}.{Path(file).stem}"
        pages[name] = ModuleType(name, _with_links((PAGES / file).read_text(encoding="utf-8"), name))
    return pages


def _with_links(text: str, name: str) -> str:
    """Return a page whose links to pages, modules and pictures lead to their places in the site.

    A link to any other file becomes the file's name.
    """
    up = "" if name == GUIDE else "../"

    def place(link: re.Match) -> str:
        shown, file, part = link[1], link[2], link[3] or ""
        inside = file.removeprefix("../")
        if file.endswith(".png"):
            there = f"pictures/{Path(file).name}"
        elif file == "index.md":
            there = f"{GUIDE}.html"
        elif file.endswith(".md") and file == inside:
            there = f"{GUIDE}/{Path(file).stem}.html"
        elif file.endswith(".py"):
            there = inside.removesuffix("/__init__.py").removesuffix(".py") + ".html"
        else:
            return f"{shown} (`{inside}`)"
        return f"[{shown}]({up}{there}{part})"

    return LINK.sub(place, text)


def _code() -> dict[str, ModuleType]:
    """Return the modules of the floors, but for those APART. A module that lacks a package is named and left out."""
    modules, left_out = {}, {}
    for floor in FLOORS:
        folder = importlib.import_module(floor).__path__
        inside = sorted(found.name for found in pkgutil.walk_packages(folder, f"{floor}.") if "._" not in found.name)
        for name in [floor, *inside]:
            if APART.match(name):
                continue
            try:
                modules[name] = importlib.import_module(name)
            except ModuleNotFoundError as error:
                left_out[name] = error.name
    for name, package in left_out.items():
        print(f"left out, as {package} is not installed: {name}", file=sys.stderr)
    return modules


if __name__ == "__main__":
    main()

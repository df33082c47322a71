"""The site that `make docs` builds: whole, small, and searchable from disk without a network."""

import re
from urllib.parse import unquote

import pytest

from tests.support import browser

pytest.importorskip("pdoc", reason="pdoc is not installed: make setup")

from docs import build


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "site"
    build.build(folder)
    return folder


@pytest.fixture(scope="module")
def window(site, tmp_path_factory):
    """A browser without a page."""
    found = browser.Browser(browser.find(), tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def test_every_page_and_every_module_has_a_file(site):
    pages = {f"guide/{file.stem}" for file in build.PAGES.glob("*.md")} - {"guide/index"}
    modules = {
        str(file.relative_to(build.ROOT)) for floor in build.FLOORS for file in (build.ROOT / floor).rglob("*.py")
    }
    modules = {name.removesuffix(".py").removesuffix("/__init__") for name in modules if "__main__" not in name}
    modules = {name for name in modules if not build.APART.match(name.replace("/", "."))}
    needs_a_cluster = {"benchmarks/cluster", "benchmarks/cluster_worker", "benchmarks/engine"}
    found = {str(file.relative_to(site))[:-5] for file in site.rglob("*.html")}
    assert (pages | modules | {"guide", "index"}) - found <= needs_a_cluster
    assert found <= pages | modules | {"guide", "index"}


def test_links_inside_the_site_lead_to_files(site):
    for file in site.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"]+)"', file.read_text(encoding="utf-8")):
            target = unquote(link.partition("#")[0])
            if target and not target.startswith(("https://", "http://", "data:", "${")):  # the last one is of a script
                assert (file.parent / target).is_file(), f"{file.relative_to(site)}: {link}"


def test_the_site_is_small_and_names_no_place_of_this_machine(site):
    files = [file for file in site.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 10e6
    for file in files:
        text = file.read_bytes().decode("utf-8", errors="ignore")
        assert str(build.ROOT) not in text and " at 0x" not in text, file.relative_to(site)


def test_a_build_takes_the_place_of_the_one_before_and_leaves_nothing_beside(site, monkeypatch):
    (site / "old.html").touch()
    monkeypatch.setattr(build, "FLOORS", ("methods",))
    other = site.parent / "other"
    other.mkdir()
    (other / "old.html").touch()
    build.build(other)
    assert not (other / "old.html").exists() and (other / "methods.html").is_file()
    assert sorted(path.name for path in site.parent.iterdir()) == ["other", "site"]
    (site / "old.html").unlink()


@pytest.mark.parametrize("width", [390, 1400])
def test_pages_fit_the_window_and_ask_for_nothing_else(window, site, width):
    window.size(width)
    window.requests.clear()
    for page in ("index", "guide", "guide/gallery", "guide/traps", "methods/ewc", "methods/importance/fisher"):
        window.visit((site / f"{page}.html").as_uri())
        assert window.js("document.documentElement.scrollWidth") <= width, page
        assert window.js("getComputedStyle(document.querySelector('main')).display") == "block", page
    assert window.requests and {url.partition(":")[0] for url in window.requests} <= {"file", "data"}


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("OddDigits", "guide/extending"),
        ("batched", "guide/fisher"),
        ("herding", "methods/memory/herding"),
    ],
)
def test_search_finds_pages_and_docstrings(window, site, words, place):
    window.size(1400)
    window.visit((site / "guide.html").as_uri())
    window.js("document.querySelector('input[type=search]').focus()")
    window.write(words)
    results = "[...document.querySelectorAll('.search-result a.attr')].map(a => a.getAttribute('href').split('#')[0])"
    for _ in range(200):
        if found := window.js(results):
            break
        window.ask("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 25))", awaitPromise=True)
    assert f"{place}.html" in found


def test_dark_mode(window, site):
    window.visit((site / "guide/fisher.html").as_uri())
    for scheme, dark in (("light", False), ("dark", True)):
        window.scheme(scheme)
        background = window.js("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 300) == dark

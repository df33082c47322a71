"""The lock is complete, holds nothing that no import needs, and installs under Python 3.14."""

import itertools
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from tests.support.lock import PYPROJECT, ROOT, locked

SYSTEMS = [
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
]
WHEELS = ROOT / "tests" / "support" / "wheels_cp314.txt"
UV = PYPROJECT["tool"]["uv"]
OVERRIDES = {canonicalize_name(Requirement(line).name): Requirement(line) for line in UV["override-dependencies"]}
LEFT_OUT = {canonicalize_name(name) for name in UV["exclude-dependencies"]}

# What Avalanche brings, beyond what the other packages of pyproject.toml require: package -> (importer, its module).
# `import avalanche.benchmarks` imports all of Avalanche at once.
BROUGHT_BY_AVALANCHE = {
    "absl-py": ("tensorboard", "absl"),
    "annotated-types": ("pydantic", "annotated_types"),
    "beautifulsoup4": ("gdown", "bs4"),
    "certifi": ("requests", "certifi"),
    "charset-normalizer": ("requests, which warns without it", "charset_normalizer"),
    "click": ("wandb", "click"),
    "dill": ("avalanche.checkpointing", "dill"),
    "gdown": ("avalanche.benchmarks.datasets.cub200", "gdown"),
    "gputil": ("avalanche.evaluation.metrics.gpu_usage", "GPUtil"),
    "idna": ("requests", "idna"),
    "lightning-utilities": ("torchmetrics", "lightning_utilities"),
    "opentelemetry-api": ("wandb", "opentelemetry.trace"),
    "platformdirs": ("wandb", "platformdirs"),
    "protobuf": ("tensorboard and wandb", "google.protobuf"),
    "psutil": ("avalanche.evaluation.metrics.cpu_usage", "psutil"),
    "pydantic": ("wandb", "pydantic"),
    "pydantic-core": ("pydantic", "pydantic_core"),
    "pytorchcv": ("avalanche.models.pytorchcv_wrapper", "pytorchcv"),
    "qpsolvers": ("avalanche.training.plugins.gem", "qpsolvers"),
    "quadprog": ("qpsolvers, for the GEM of Avalanche in the second opinions", "quadprog"),
    "requests": ("gdown", "requests"),
    "soupsieve": ("beautifulsoup4, which warns without it", "soupsieve"),
    "tensorboard": ("avalanche.logging.tensorboard_logger", "tensorboard"),
    "torchmetrics": ("avalanche.evaluation.metrics.topk_acc", "torchmetrics"),
    "tqdm": ("avalanche.logging.interactive_logging", "tqdm"),
    "typing-inspection": ("pydantic", "typing_inspection"),
    "urllib3": ("requests", "urllib3"),
    "wandb": ("avalanche.evaluation.metrics.confusion_matrix", "wandb"),
    "xxhash": ("wandb", "xxhash"),
}


def requirements(name: str, extras=()):
    """What a package requires on any system, as the lock's resolution sees it; nothing where it is not installed."""
    try:
        lines = metadata.requires(name) or ()
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        places = [system | {"extra": extra} for system in SYSTEMS for extra in ("", *extras)]
        if marker is None or any(marker.evaluate(place) for place in places):
            yield OVERRIDES.get(canonicalize_name(requirement.name), requirement)


def reached(requirement: Requirement, seen: set) -> None:
    """Add (name, extras) of everything that a requirement leads to. What is left out leads nowhere."""
    key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
    if key not in seen:
        seen.add(key)
        if key[0] not in LEFT_OUT:
            for further in requirements(requirement.name, requirement.extras):
                reached(further, seen)


def required(lines, seen=()) -> set:
    """The names of everything that some lines of requirements lead to; `seen` is not followed."""
    seen = set(seen)
    for line in lines:
        reached(Requirement(line), seen)
    return {name for name, _ in seen}


def test_the_lock_holds_what_is_required_and_what_avalanche_imports_and_no_more():
    """Avalanche's own requirements do not count here, since it imports less than it asks for."""
    ours = required(PYPROJECT["project"]["dependencies"], seen=[("avalanche-lib", frozenset())]) - LEFT_OUT
    assert ours.isdisjoint(BROUGHT_BY_AVALANCHE)
    assert set(locked()) == ours | set(BROUGHT_BY_AVALANCHE)


def test_avalanche_imports_what_is_in_the_lock_for_it():
    # qpsolvers would import jax, for seconds, where it is installed for the benchmarks. It is not in the lock.
    code = "import sys; sys.modules['jax'] = None; import avalanche.benchmarks; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    modules = {module for _, module in BROUGHT_BY_AVALANCHE.values()}
    assert modules - set(done.stdout.split()) == set()


def test_what_is_required_and_not_in_the_lock_is_what_pyproject_leaves_out():
    """`pip check` complains of these packages, and of no others."""
    pins = locked()
    assert required(PYPROJECT["project"]["dependencies"]) - set(pins) == LEFT_OUT
    assert LEFT_OUT.isdisjoint(pins)
    for name in pins:
        for requirement in requirements(name):
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin is None or requirement.specifier.contains(pin.version, prereleases=True), (
                f"{name}: {requirement}"
            )


def test_every_package_of_the_lock_has_a_file_for_python_3_14():
    """The table was made with pip, for there is no 3.14 on every machine; its hashes tie it to the lock."""
    with_abi = cpython_tags((3, 14), ["cp314"], ["any"])
    tags = {(tag.interpreter, tag.abi) for tag in itertools.chain(with_abi, compatible_tags((3, 14), "cp314", ["any"]))}
    files, sources = {}, set()
    for line in WHEELS.read_text(encoding="utf-8").splitlines():
        digest, file = line.split()
        if file.endswith(".whl"):
            name, version, _, built_for = parse_wheel_filename(file)
            assert tags & {(tag.interpreter, tag.abi) for tag in built_for}, f"{file} is not for Python 3.14"
        else:
            name, version = parse_sdist_filename(file)
            sources.add(name)
        files[name] = (str(version), digest)
    assert sources == {"gputil"}  # pure Python, published without a wheel
    here = {name: pin for name, pin in locked().items() if pin.marker is None or pin.marker.evaluate(SYSTEMS[0])}
    assert set(files) == set(here)
    for name, (version, digest) in files.items():
        assert version == here[name].version
        assert digest in here[name].hashes, f"{name}: run python tests/support/wheels.py"


def test_every_package_of_the_lock_has_a_hash():
    assert [name for name, pin in locked().items() if not pin.hashes] == []

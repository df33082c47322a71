"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100: where their files lie, whether they are the official ones, download.

A set is used only after every unpacked file has its known md5. Besides the layout of torchvision and Avalanche, files
are found as archives (`<file>.gz`, or the .tar.gz of CIFAR) and under Kaggle's names (`train-images.idx3-ubyte`). They
are read where they lie: nothing is written into the data root but a download.
"""

import gzip
import hashlib
import os
import socket
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from contextlib import suppress
from pathlib import Path

from benchmarks.background import background
from benchmarks.files import ROOT
from methods.base.errors import UserError

DEFAULT_ROOT = ROOT / "data"  # where no data root is given
SETS = {  # name -> its class in torchvision, its folder in the data root
    "mnist": ("MNIST", "MNIST/raw"),
    "fashionmnist": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
}
MD5 = {  # of the unpacked files; torchvision has those of the archives
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashionmnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
CONTENT = {  # sha256 of all images with their labels, in whatever order (content_of)
    "mnist": "a753069c4e6c768e33bcdd2c22d7777ebcb9150a4225cc64e895f3e4cdbc7289",
    "cifar100": "98a1706d55ba4cf95b94a1121c72d1ed3867138189a6588320815b6a3897da74",
}
PROBE_SECONDS = 20  # for all mirrors together, so that without a network a command ends within 30 seconds
STALL_SECONDS = 30  # a download that brings no byte for so long has failed


def checksums(name: str) -> dict[str, str]:
    """Return the md5 of the content of each official file."""
    if name in MD5:
        return MD5[name]
    cls = _torchvision_class(name)
    return dict([*cls.train_list, *cls.test_list, (cls.meta["filename"], cls.meta["md5"])])


def places(name: str, root: Path) -> dict[str, Path]:
    """Return, for each official file, the file or archive that should hold it. Files without one are left out."""
    found = {}
    for file in checksums(name):
        plain = [root / SETS[name][1] / spelt for spelt in (file, file.replace("-idx", ".idx"))]
        packed = [path.with_name(f"{path.name}.gz") for path in plain]
        whole = [root / _torchvision_class(name).filename] if name.startswith("cifar") else []
        at_hand = [path for path in (*plain, *packed, *whole) if path.exists()]
        if at_hand:
            found[file] = at_hand[0]
    return found


def contents(name: str, root: Path) -> dict[str, bytes]:
    """Return the content of each official file that is at hand. UserError names one that is not the official file."""
    found, expected = {}, checksums(name)
    for file, path in places(name, root).items():
        try:
            found[file] = _unpacked(path, f"{SETS[name][1]}/{file}")
        except (gzip.BadGzipFile, tarfile.TarError, zlib.error, EOFError, KeyError) as error:
            raise _refusal(name, root, path, f"cannot be unpacked ({' '.join(str(error).split())})") from error
        if (md5 := _md5(found[file])) != expected[file]:
            raise _refusal(name, root, path, _difference(found[file], file, md5, expected[file]))
    return found


def content_of(sides: Iterable[tuple]) -> str:
    """Return the sha256 of a data set whatever the order of its examples.

    sides: images [N, ...] and labels [N] as arrays.

    An example is its label in 8 bytes, the lowest last, and its pixels, a byte each, colours first. The sha256 of each
    example are sorted and joined within a side, and the two sides are joined in their order.
    """
    digest = hashlib.sha256()
    for x, y in sides:
        each = (hashlib.sha256(label.to_bytes(8) + image.tobytes()).digest() for image, label in zip(x, y, strict=True))
        digest.update(b"".join(sorted(each)))
    return digest.hexdigest()


def download(name: str, root: Path, announce: Callable[[str], object]) -> None:
    """Fetch the set through torchvision into a temporary folder of the root, verify it there, move it into place."""
    cls, folder = _torchvision_class(name), root / SETS[name][1]
    urls = [mirror + cls.resources[0][0] for mirror in cls.mirrors] if hasattr(cls, "mirrors") else [cls.url]
    if failures := _unreachable(urls):
        raise UserError(
            f"{name} is not in {folder}{holds(folder)} and cannot be downloaded ({failures}): set DATA=<root> to a "
            "data root with it, bring data of your own as <root>/<name>/{train,test}_{images,labels}.npy for the "
            "stream arrays, or run `make table-splitdigits`, which needs no data"
        )
    announce(f"downloading {name} into {folder}")
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        root.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
            cls(temporary, download=True)
            contents(name, Path(temporary))
            folder.mkdir(parents=True, exist_ok=True)
            for file in checksums(name):
                os.replace(Path(temporary) / SETS[name][1] / file, folder / file)
    except Exception as error:  # whatever a network, an archive or a disk can do
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"downloading {name} into {root} failed ({reason}); nothing was kept, try again") from error
    finally:
        socket.setdefaulttimeout(timeout)


def _torchvision_class(name: str) -> type:
    from torchvision import datasets

    return getattr(datasets, SETS[name][0])


def _unpacked(path: Path, member: str) -> bytes:
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            return archive.extractfile(member).read()
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _difference(content: bytes, file: str, md5: str, expected: str) -> str:
    if content[:512].lstrip().startswith(b"<"):
        return "is a web page, not data"
    for name, files in MD5.items():
        if md5 == files.get(file):
            return f"is the file of {name}"
    return f"is not the official file: it has {len(content)} bytes and md5 {md5}, expected md5 {expected}"


def _refusal(name: str, root: Path, path: Path, fault: str) -> UserError:
    given = "" if root.resolve() == DEFAULT_ROOT else f" DATA={root}"
    own = "<root>/<folder>/{train,test}_{images,labels}.npy for the stream arrays"
    return UserError(
        f"{path} {fault}. If it is damaged or of another set, delete it and run `make data-{name}{given}`. If it is "
        f"data of your own, or {name} in another order, bring it as {own}"
    )


def holds(folder: Path) -> str:
    """Return the names that lie in a folder, for a message."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return f" (there: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''})" if names else ""


def _unreachable(urls: list[str]) -> str | None:
    """Return None as soon as one of `urls` answers, else what was tried and how each failed, within PROBE_SECONDS."""

    def probe(url):
        with suppress(urllib.error.HTTPError):  # a refusal is an answer too; the download itself will say more
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()

    probes = {background(probe, url): url for url in urls}  # looking up a name has no time limit of its own
    failures = dict.fromkeys(urls, f"no answer in {PROBE_SECONDS} s")
    with suppress(TimeoutError):
        for done in as_completed(probes, timeout=PROBE_SECONDS):
            if (error := done.exception()) is None:
                return None
            failures[probes[done]] = " ".join(str(getattr(error, "reason", error)).split())
    return "; ".join(f"{url}: {failure}" for url, failure in failures.items())

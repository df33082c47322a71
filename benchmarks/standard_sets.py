"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 as torchvision and Avalanche lay them out: verify, download, read.

Nothing is read before it is verified: MNIST and CIFAR by md5. Of Fashion-MNIST only the .gz archives have a published
md5: an archive that lies beside its file is checked, and has to unpack to that file; without it the IDX header and the
exact length are checked, which catches truncated files and web pages but not a single flipped byte.
"""

import gzip
import hashlib
import math
import os
import socket
import struct
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np
import torch
from torch import Tensor

from methods.base.errors import UserError

SETS = {  # name -> its class in torchvision, its folder in the data root
    "mnist": ("MNIST", "MNIST/raw"),
    "fashionmnist": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
}
IDX = {  # the files of MNIST and Fashion-MNIST, and their shapes
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
MNIST_MD5 = {  # of the unpacked files; torchvision carries those of the archives
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
PROBE_SECONDS = 20  # for all mirrors together, so that without a network a command ends within 30 seconds
STALL_SECONDS = 30  # a download that brings no byte for so long has failed


def checksums(name: str) -> dict[str, str]:
    """File -> published md5; for Fashion-MNIST the files are the archives."""
    if name == "mnist":
        return MNIST_MD5
    cls = _torchvision_class(name)
    if name == "fashionmnist":
        return dict(cls.resources)
    return dict([*cls.train_list, *cls.test_list, (cls.meta["filename"], cls.meta["md5"])])


def present(name: str, root: Path) -> bool:
    """Whether every file of the set is in the data root."""
    return all(path.exists() for path in _paths(name, root))


def faults(name: str, root: Path) -> Iterator[tuple[Path, str]]:
    """Each file of the set that lies in the data root but is not what it should be, with what is wrong with it."""
    md5 = checksums(name)
    for path in filter(Path.exists, _paths(name, root)):
        content = path.read_bytes()
        if fault := _fault(content, IDX.get(path.name), md5.get(path.name)):
            yield path, fault
        archive = path.with_name(f"{path.name}.gz")
        if archive.name in md5 and archive.exists():
            packed = archive.read_bytes()
            if fault := _fault(packed, None, md5[archive.name]):
                yield archive, fault
            elif gzip.decompress(packed) != content:
                yield path, f"differs from its archive {archive.name}"


def read(name: str, root: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """train_x, train_y, test_x, test_y of a verified set: x uint8 [N, C, H, W], y int64 [N]."""
    if name.startswith("cifar"):
        parts = [_torchvision_class(name)(root, train=train) for train in (True, False)]
        return tuple(
            tensor
            for part in parts
            for tensor in (torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        )
    flat = [np.fromfile(path, np.uint8, offset=4 + 4 * len(IDX[path.name])) for path in _paths(name, root)]
    train_x, train_y, test_x, test_y = map(torch.from_numpy, flat)
    return train_x.view(-1, 1, 28, 28), train_y.long(), test_x.view(-1, 1, 28, 28), test_y.long()


def download(name: str, root: Path, announce: Callable[[str], object]) -> None:
    """Fetch the set through torchvision into a temporary folder of the root, verify it there, move it into place."""
    cls, folder = _torchvision_class(name), root / SETS[name][1]
    urls = [mirror + cls.resources[0][0] for mirror in cls.mirrors] if hasattr(cls, "mirrors") else [cls.url]
    if failures := _unreachable(urls):
        raise UserError(
            f"{name} is not in {folder} and cannot be downloaded ({failures}): set DATA=<root> to a data root with "
            "it, bring data of your own as <root>/<name>/{train,test}_{images,labels}.npy, or run "
            "`make table-splitdigits`, which needs no data"
        )
    announce(f"downloading {name} into {folder}")
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        root.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
            cls(temporary, download=True)
            for path, fault in faults(name, Path(temporary)):
                raise RuntimeError(f"{path.name} {fault}")
            folder.mkdir(parents=True, exist_ok=True)
            files = [path.name for path in _paths(name, root)]
            for file in dict.fromkeys([*checksums(name), *files]):  # Fashion-MNIST keeps the archives that prove it
                os.replace(Path(temporary) / SETS[name][1] / file, folder / file)
    except Exception as error:  # whatever a network, an archive or a disk can do
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"downloading {name} into {root} failed ({reason}); nothing was kept, try again") from error
    finally:
        socket.setdefaulttimeout(timeout)


def _torchvision_class(name: str) -> type:
    from torchvision import datasets

    return getattr(datasets, SETS[name][0])


def _paths(name: str, root: Path) -> list[Path]:
    return [root / SETS[name][1] / file for file in (checksums(name) if name.startswith("cifar") else IDX)]


def _fault(content: bytes, shape: tuple[int, ...] | None, md5: str | None) -> str | None:
    """What is wrong with a file that should be an IDX array of `shape`, or have the checksum `md5`, where given."""
    if content[:512].lstrip().startswith(b"<"):
        return "is a web page, not data"
    if shape:
        header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)  # 08: bytes; then the dimensions
        if len(content) != len(header) + math.prod(shape):
            return f"has {len(content)} bytes instead of {len(header) + math.prod(shape)}"
        if not content.startswith(header):
            return f"has no IDX header for bytes of shape {list(shape)}"
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return f"is corrupt or truncated (md5 {found}, expected {md5})" if md5 and found != md5 else None


def _unreachable(urls: list[str]) -> str | None:
    """None as soon as one of `urls` answers, else what was tried and how each failed, within PROBE_SECONDS."""
    answers = SimpleQueue()

    def probe(url):
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
        except urllib.error.HTTPError:
            answers.put((url, None))  # a refusal is an answer too; the download itself will say more
        except Exception as error:
            answers.put((url, " ".join(str(getattr(error, "reason", error)).split())))
        else:
            answers.put((url, None))

    for url in urls:  # daemon threads, since looking up a name has no time limit of its own
        threading.Thread(target=probe, args=(url,), daemon=True).start()
    failures = dict.fromkeys(urls, f"no answer in {PROBE_SECONDS} s")
    end = time.monotonic() + PROBE_SECONDS
    for _ in urls:
        try:
            url, failure = answers.get(timeout=max(0, end - time.monotonic()))
        except Empty:
            break
        if failure is None:
            return None
        failures[url] = failure
    return "; ".join(f"{url}: {failure}" for url, failure in failures.items())

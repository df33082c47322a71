"""The standard sets: what is read, what is refused and how it is named, and that a failed download leaves nothing."""

import gzip
import hashlib
import os
import pickle
import socket
import struct
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from benchmarks import data, standard_sets
from methods.base.errors import UserError

SMALL = {name: (6 if name.startswith("train") else 4, *shape[1:]) for name, shape in standard_sets.IDX.items()}


def md5(content):
    return hashlib.md5(content).hexdigest()


def idx_files():
    """Four small IDX files: name -> content."""
    draw = np.random.default_rng(0)
    values = {name: draw.integers(0, 256 if len(shape) > 1 else 10, shape, np.uint8) for name, shape in SMALL.items()}
    return {name: struct.pack(f">{1 + x.ndim}I", 0x0800 + x.ndim, *x.shape) + x.tobytes() for name, x in values.items()}


@pytest.fixture
def small(monkeypatch):
    """MNIST and Fashion-MNIST made of the small files, for all that checks or fetches them."""
    files = idx_files()
    archives = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    monkeypatch.setattr(standard_sets, "IDX", SMALL)
    monkeypatch.setattr(standard_sets, "MNIST_MD5", {name: md5(content) for name, content in files.items()})
    monkeypatch.setattr(
        datasets.FashionMNIST, "resources", [(name, md5(content)) for name, content in archives.items()]
    )
    return {**files, **archives}


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def mnist(tmp_path, small):
    write(tmp_path / "MNIST/raw", {name: small[name] for name in SMALL})
    return tmp_path


def fake_download(monkeypatch, fetch):
    """The network answers, and torchvision's download calls `fetch(folder)`."""
    monkeypatch.setattr(standard_sets, "_unreachable", lambda urls: None)

    def download(self):
        os.makedirs(self.raw_folder)
        fetch(Path(self.raw_folder))

    monkeypatch.setattr(datasets.MNIST, "download", download)


def test_mnist_is_what_torchvision_reads(mnist):
    images = data.load("mnist", mnist)
    for train, x, y in ((True, images.train_x, images.train_y), (False, images.test_x, images.test_y)):
        theirs = datasets.MNIST(mnist, train=train)
        assert torch.equal(x, theirs.data[:, None])
        assert torch.equal(y, theirs.targets)
    assert images.train_x.dtype == torch.uint8


def test_real_mnist(data_root):
    images = data.load("mnist", data_root)
    assert images.train_x.shape == (60_000, 1, 28, 28)
    assert torch.equal(images.test_x, datasets.MNIST(data_root, train=False).data[:, None])
    assert images.test_y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "has 4719 bytes instead of 4720"),
        (lambda content: b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "is corrupt"),
        (lambda content: b"\0\0\x0d" + content[3:], "no IDX header"),
    ],
)
def test_damaged_file_is_named_with_the_remedy(mnist, damage, message):
    path = mnist / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message) as error:
        data.load("mnist", mnist)
    assert str(path) in str(error.value)
    assert f"run `make data-mnist DATA={mnist}`" in str(error.value)


def test_fashionmnist_checks_its_archives(tmp_path, small):
    folder, name = tmp_path / "FashionMNIST/raw", "train-images-idx3-ubyte"
    write(folder, small)
    assert data.load("fashionmnist", tmp_path).train_x.shape == (6, 1, 28, 28)
    (folder / name).write_bytes(small[name][:-1] + bytes([small[name][-1] ^ 1]))
    with pytest.raises(UserError, match=rf"{name} differs from its archive"):
        data.load("fashionmnist", tmp_path)
    (folder / name).write_bytes(small[name])
    (folder / f"{name}.gz").write_bytes(small[f"{name}.gz"][:-1])
    with pytest.raises(UserError, match=rf"{name}.gz is corrupt"):
        data.load("fashionmnist", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_verified_before_it_is_unpickled(tmp_path, monkeypatch, name):
    cls, labels = getattr(datasets, name.upper()), {"cifar10": "labels", "cifar100": "fine_labels"}[name]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
    batch = pickle.dumps({"data": pixels, labels: [2, 0, 1]})
    files = {file: batch for file, _ in [*cls.train_list, *cls.test_list]}
    files[cls.meta["filename"]] = pickle.dumps({cls.meta["key"]: ["a", "b", "c"]})
    write(tmp_path / cls.base_folder, files)
    monkeypatch.setattr(cls, "train_list", [[file, md5(batch)] for file, _ in cls.train_list])
    monkeypatch.setattr(cls, "test_list", [[file, md5(batch)] for file, _ in cls.test_list])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5(files[cls.meta["filename"]])})
    images = data.load(name, tmp_path)
    assert torch.equal(images.test_x, torch.from_numpy(pixels.reshape(3, 3, 32, 32)))
    assert images.test_y.tolist() == [2, 0, 1]
    assert len(images.train_x) == 3 * len(cls.train_list)

    harm = tmp_path / "unpickled"
    (tmp_path / cls.base_folder / cls.test_list[0][0]).write_bytes(f"cos\nmkdir\n(V{harm}\ntR.".encode())
    with pytest.raises(UserError, match=f"{cls.test_list[0][0]} is corrupt"):
        data.load(name, tmp_path)
    assert not harm.exists()


def test_no_network_ends_soon_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        data.load("mnist", tmp_path)
    assert time.monotonic() - start < 10
    for said in (
        str(tmp_path),
        "http://127.0.0.1:9/",
        "DATA=",
        "{train,test}_{images,labels}.npy",
        "table-splitdigits",
    ):
        assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_mirror_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(standard_sets, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        start = time.monotonic()
        with pytest.raises(UserError, match="cannot be downloaded"):
            data.require("cifar10", tmp_path)
        assert time.monotonic() - start < 5


def test_name_look_up_that_hangs_is_given_up(tmp_path, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(standard_sets, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: over.wait(10))
    start = time.monotonic()
    with pytest.raises(UserError, match="no answer in"):
        data.require("mnist", tmp_path)
    over.set()
    assert time.monotonic() - start < 5


@pytest.fixture
def server(tmp_path):
    """A mirror on this machine: the folder that it serves and its address."""
    served = tmp_path / "mirror"
    served.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=served)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield served, f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
        thread.join()


def test_download_through_torchvision(tmp_path, small, monkeypatch, server):
    served, address = server
    write(served, small)
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [address])
    last = served / datasets.FashionMNIST.resources[-1][0]
    last.write_bytes(small[last.name][:-1])
    with pytest.raises(UserError, match="downloading fashionmnist into"):
        data.require("fashionmnist", root)
    assert list(root.iterdir()) == []
    last.write_bytes(small[last.name])
    data.require("fashionmnist", root)
    assert {path.name: path.read_bytes() for path in (root / "FashionMNIST/raw").iterdir()} == small
    assert len(list(root.iterdir())) == 1


@pytest.mark.parametrize("name", ["mnist", "fashionmnist"])
def test_download_is_moved_into_place(tmp_path, small, monkeypatch, name):
    fake_download(monkeypatch, lambda folder: write(folder, small))
    said = []
    data.require(name, tmp_path, announce=said.append)
    files = {path.name: path.read_bytes() for path in (tmp_path / standard_sets.SETS[name][1]).iterdir()}
    assert files == (small if name == "fashionmnist" else {file: small[file] for file in SMALL})
    assert len(list(tmp_path.iterdir())) == len(said) == 1
    data.require(name, tmp_path, announce=said.append)
    assert len(said) == 1


def test_default_root_is_made_and_a_given_one_is_not(tmp_path, small, monkeypatch):
    fake_download(monkeypatch, lambda folder: write(folder, small))
    monkeypatch.setattr(data, "DEFAULT_ROOT", tmp_path / "data")
    with pytest.raises(UserError, match=f"data root {tmp_path / 'typo'}: No such file"):
        data.require("mnist", tmp_path / "typo")
    data.require("mnist", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device"), None])
def test_failed_download_leaves_nothing(tmp_path, small, monkeypatch, failure):
    def fetch(folder):
        flipped = small["train-images-idx3-ubyte"][:-1] + bytes([small["train-images-idx3-ubyte"][-1] ^ 1])
        write(folder, {**small, "train-images-idx3-ubyte": flipped})
        if failure:
            raise failure

    fake_download(monkeypatch, fetch)
    with pytest.raises(KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else UserError):
        data.require("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_root_that_cannot_be_read(mnist, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    for name in ("mnist", "mine"):
        with pytest.raises(UserError, match=f"data root {mnist}: Permission denied"):
            data.load(name, mnist)

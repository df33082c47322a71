"""Downloads: they end soon without a network, are verified, and leave nothing where they fail."""

import gzip
import os
import socket
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torchvision import datasets

from benchmarks import data, standard_sets
from methods.base.errors import UserError
from tests.support import small_sets
from tests.support.small_sets import md5, write_files


@pytest.fixture
def small(monkeypatch):
    return small_sets.patched(monkeypatch)


def fake_download(monkeypatch, fetch):
    """The network answers, and torchvision's download calls `fetch(folder)`."""
    monkeypatch.setattr(standard_sets, "_unreachable", lambda urls: None)

    def download(self):
        os.makedirs(self.raw_folder)
        fetch(Path(self.raw_folder))

    monkeypatch.setattr(datasets.MNIST, "download", download)


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
    packed = {f"{file}.gz": gzip.compress(content) for file, content in small_sets.idx_files(1).items()}
    write_files(served, packed)
    monkeypatch.setattr(datasets.FashionMNIST, "resources", [(name, md5(content)) for name, content in packed.items()])
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [address])
    last = served / datasets.FashionMNIST.resources[-1][0]
    last.write_bytes(packed[last.name][:-1])
    with pytest.raises(UserError, match="downloading fashionmnist into"):
        data.require("fashionmnist", root)
    assert list(root.iterdir()) == []
    last.write_bytes(packed[last.name])
    data.require("fashionmnist", root)
    files = {path.name: path.read_bytes() for path in (root / "FashionMNIST/raw").iterdir()}
    assert files == small_sets.idx_files(1)
    assert len(list(root.iterdir())) == 1


def test_download_is_moved_into_place(tmp_path, small, monkeypatch):
    fake_download(monkeypatch, lambda folder: write_files(folder, small))
    said = []
    data.require("mnist", tmp_path, announce=said.append)
    assert {path.name: path.read_bytes() for path in (tmp_path / "MNIST/raw").iterdir()} == small
    assert len(list(tmp_path.iterdir())) == len(said) == 1
    data.require("mnist", tmp_path, announce=said.append)
    assert len(said) == 1


def test_default_root_is_made_and_a_given_one_is_not(tmp_path, small, monkeypatch):
    fake_download(monkeypatch, lambda folder: write_files(folder, small))
    monkeypatch.setattr(standard_sets, "DEFAULT_ROOT", tmp_path / "data")
    with pytest.raises(UserError, match=f"data root {tmp_path / 'typo'}: No such file"):
        data.require("mnist", tmp_path / "typo")
    data.require("mnist", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device"), None])
def test_failed_download_leaves_nothing(tmp_path, small, monkeypatch, failure):
    def fetch(folder):
        flipped = small["train-images-idx3-ubyte"][:-1] + bytes([small["train-images-idx3-ubyte"][-1] ^ 1])
        write_files(folder, {**small, "train-images-idx3-ubyte": flipped})
        if failure:
            raise failure

    fake_download(monkeypatch, fetch)
    with pytest.raises(KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else UserError):
        data.require("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() is None

"""The standard sets: what is read, what is refused and how it is named."""

import gzip
import os
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import torch
from torchvision import datasets

from benchmarks import data, standard_sets
from methods.base.errors import UserError
from tests.support import small_sets
from tests.support.small_sets import md5, write_files

FASHION_MD5 = standard_sets.MD5["fashionmnist"]


@pytest.fixture
def small(monkeypatch):
    return small_sets.patched(monkeypatch)


@pytest.fixture
def mnist(tmp_path, small):
    write_files(tmp_path / "MNIST/raw", small)
    return tmp_path


def test_mnist_is_what_torchvision_reads(mnist):
    images = data.load("mnist", mnist)
    for train, x, y in ((True, images.train_x, images.train_y), (False, images.test_x, images.test_y)):
        theirs = datasets.MNIST(mnist, train=train)
        assert torch.equal(x, theirs.data[:, None])
        assert torch.equal(y, theirs.targets)
    assert images.train_x.dtype == torch.uint8 and images.full == 255


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100", "FashionMNIST"])
def test_the_other_sets_are_what_torchvision_reads(tmp_path, monkeypatch, name):
    small_sets.write(tmp_path, monkeypatch)
    images = data.load(name.lower(), tmp_path)
    for train, x, y in ((True, images.train_x, images.train_y), (False, images.test_x, images.test_y)):
        theirs = getattr(datasets, name)(tmp_path, train=train)
        pixels = torch.as_tensor(theirs.data)
        assert torch.equal(x, pixels[:, None] if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2))
        assert torch.equal(y, torch.as_tensor(theirs.targets))


def test_real_mnist(data_root):
    images = data.load("mnist", data_root)
    assert images.train_x.shape == (60_000, 1, 28, 28)
    assert torch.equal(images.test_x, datasets.MNIST(data_root, train=False).data[:, None])
    assert images.test_y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda content: content[:-1],
            "is not the official file: it has 23535 bytes and md5 [0-9a-f]{32}, expected md5",
        ),
        (lambda content: b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "is not the official file: it has 23536 bytes"),
    ],
)
def test_damaged_file_is_named_with_the_remedy(mnist, damage, message):
    path = mnist / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message) as error:
        data.load("mnist", mnist)
    said = str(error.value)
    assert str(path) in said and "\n" not in said
    assert f"run `make data-mnist DATA={mnist}`" in said and "{train,test}_{images,labels}.npy" in said


def test_files_of_mnist_are_not_those_of_fashionmnist(tmp_path, small):
    write_files(tmp_path / "FashionMNIST/raw", small)
    with pytest.raises(UserError, match="train-images-idx3-ubyte is the file of mnist"):
        data.require("fashionmnist", tmp_path)


def test_real_mnist_is_not_fashionmnist(tmp_path, data_root):
    (tmp_path / "FashionMNIST").mkdir()
    (tmp_path / "FashionMNIST/raw").symlink_to(data_root / "MNIST/raw")
    with pytest.raises(UserError, match="train-images-idx3-ubyte is the file of mnist"):
        data.require("fashionmnist", tmp_path)


def kaggle(name):
    return name.replace("-idx", ".idx")


@pytest.mark.parametrize(
    "spelt",
    [
        lambda name: f"{name}.gz",
        kaggle,
        lambda name: f"{kaggle(name)}.gz",
        lambda name: name if name.startswith("t10k") else f"{name}.gz",  # some packed, some not
    ],
)
def test_archives_and_the_names_of_kaggle_are_read(tmp_path, small, spelt):
    files = {spelt(name): content for name, content in small.items()}
    packed = {name: gzip.compress(content) if name.endswith(".gz") else content for name, content in files.items()}
    write_files(tmp_path / "MNIST/raw", packed)
    images = data.load("mnist", tmp_path)
    assert images.train_x.numpy().tobytes() == small["train-images-idx3-ubyte"][16:]
    assert images.test_y.tolist() == list(small["t10k-labels-idx1-ubyte"][8:])
    assert {path.name for path in (tmp_path / "MNIST/raw").iterdir()} == set(packed)  # nothing is written


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: b"PK" + packed, lambda packed: b""])
def test_archive_that_cannot_be_unpacked_is_named(tmp_path, small, damage):
    packed = {f"{name}.gz": gzip.compress(content) for name, content in small.items()}
    packed["t10k-images-idx3-ubyte.gz"] = damage(packed["t10k-images-idx3-ubyte.gz"])
    write_files(tmp_path / "MNIST/raw", packed)
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte\.gz (cannot be unpacked|is not the official)"):
        data.load("mnist", tmp_path)


def test_archive_of_another_set_is_named(tmp_path, small):
    write_files(
        tmp_path / "FashionMNIST/raw", {f"{name}.gz": gzip.compress(content) for name, content in small.items()}
    )
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz is the file of mnist"):
        data.load("fashionmnist", tmp_path)


def test_what_lies_in_the_folder_is_named(tmp_path, small, monkeypatch):
    monkeypatch.setattr(standard_sets, "_unreachable", lambda urls: "no network")
    write_files(tmp_path / "MNIST/raw", {"mnist.npz": b"", "train-images-idx3-ubyte": small["train-images-idx3-ubyte"]})
    with pytest.raises(UserError, match=r"MNIST/raw \(there: mnist\.npz, train-images-idx3-ubyte\) and cannot be"):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_verified_before_it_is_unpickled(tmp_path, monkeypatch, name):
    cls, labels = getattr(datasets, name.upper()), {"cifar10": "labels", "cifar100": "fine_labels"}[name]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
    batch = pickle.dumps({"data": pixels, labels: [2, 0, 1]})
    files = {file: batch for file, _ in [*cls.train_list, *cls.test_list]}
    files[cls.meta["filename"]] = pickle.dumps({cls.meta["key"]: ["a", "b", "c"]})
    write_files(tmp_path / cls.base_folder, files)
    monkeypatch.setattr(cls, "train_list", [[file, md5(batch)] for file, _ in cls.train_list])
    monkeypatch.setattr(cls, "test_list", [[file, md5(batch)] for file, _ in cls.test_list])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5(files[cls.meta["filename"]])})
    images = data.load(name, tmp_path)
    assert torch.equal(images.test_x, torch.from_numpy(pixels.reshape(3, 3, 32, 32)))
    assert images.test_y.tolist() == [2, 0, 1]
    assert len(images.train_x) == 3 * len(cls.train_list)

    harm = tmp_path / "unpickled"
    (tmp_path / cls.base_folder / cls.test_list[0][0]).write_bytes(f"cos\nmkdir\n(V{harm}\ntR.".encode())
    with pytest.raises(UserError, match=f"{cls.test_list[0][0]} is not the official file") as error:
        data.load(name, tmp_path)
    assert f"{name} in another order" in str(error.value)
    assert not harm.exists()


def test_archive_of_cifar_is_read(tmp_path, monkeypatch):
    small_sets.write(tmp_path, monkeypatch)
    whole = data.load("cifar10", tmp_path)
    cls = datasets.CIFAR10
    with tarfile.open(tmp_path / cls.filename, "w:gz") as archive:
        archive.add(tmp_path / cls.base_folder, arcname=cls.base_folder)
    shutil.rmtree(tmp_path / cls.base_folder)
    packed = data.load("cifar10", tmp_path)
    assert torch.equal(packed.train_x, whole.train_x) and torch.equal(packed.test_y, whole.test_y)
    archive = tmp_path / cls.filename
    archive.write_bytes(archive.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz cannot be unpacked"):
        data.load("cifar10", tmp_path)


def in_arrays(folder, images, order=slice(None)):
    """A set in the array layout, the colours last, its training examples in another order."""
    folder.mkdir()
    for part, x, y in (("train", images.train_x, images.train_y), ("test", images.test_x, images.test_y)):
        where = order if part == "train" else slice(None)
        np.save(folder / f"{part}_images.npy", x.permute(0, 2, 3, 1).numpy()[where])
        np.save(folder / f"{part}_labels.npy", y.numpy()[where].astype(np.uint8))


def test_standard_sets_may_be_arrays_in_any_order(tmp_path, monkeypatch):
    small_sets.write(tmp_path, monkeypatch)
    official = data.load("cifar100", tmp_path)
    known = standard_sets.content_of(
        [(official.train_x.numpy(), official.train_y.tolist()), (official.test_x.numpy(), official.test_y.tolist())]
    )
    monkeypatch.setitem(standard_sets.CONTENT, "cifar100", known)
    before = data.fingerprint("cifar100", tmp_path)
    in_arrays(tmp_path / "cifar100", official, order := official.train_y.argsort().numpy())
    assert data.load("cifar100", tmp_path) is official  # the official files come first
    shutil.rmtree(tmp_path / "cifar-100-python")
    images = data.load("cifar100", tmp_path)
    assert torch.equal(images.train_x, official.train_x[order]) and torch.equal(images.test_y, official.test_y)
    assert data.fingerprint("cifar100", tmp_path) == data.fingerprint("./cifar100", tmp_path) != before

    labels = np.load(tmp_path / "cifar100/train_labels.npy")
    swapped = labels.copy()
    swapped[[0, -1]] = labels[[-1, 0]]
    np.save(tmp_path / "cifar100/train_labels.npy", swapped)
    with pytest.raises(UserError, match=r"cannot be taken for cifar100: images or labels differ; .* stream arrays"):
        data.load("cifar100", tmp_path)
    assert torch.equal(data.load("./cifar100", tmp_path).train_y, torch.from_numpy(swapped).long())

    in_arrays(tmp_path / "cifar10", official)
    shutil.rmtree(tmp_path / "cifar-10-batches-py")
    with pytest.raises(UserError, match="cannot be taken for cifar10: the checksum of its content is not known here"):
        data.require("cifar10", tmp_path)


def test_real_cifar100_in_arrays(data_root):
    if not (data_root / "cifar100").is_dir():
        pytest.skip("no cifar100/ in the data root")
    images = data.load("cifar100", data_root)
    assert images.train_x.shape == (50_000, 3, 32, 32) and images.test_x.shape == (10_000, 3, 32, 32)
    means = (images.train_x.double().mean((0, 2, 3)) / 255).tolist()
    assert [round(mean, 4) for mean in means] == [0.5071, 0.4865, 0.4409]  # published for the official files


def test_real_mnist_in_arrays(tmp_path, data_root):
    in_arrays(tmp_path / "mnist", data.load("mnist", data_root))
    assert data.load("mnist", tmp_path).train_x.shape == (60_000, 1, 28, 28)


def test_known_checksums_of_two_sets_differ():
    assert len({*FASHION_MD5.values(), *standard_sets.MD5["mnist"].values()}) == 8
    assert list(FASHION_MD5) == list(standard_sets.MD5["mnist"]) == list(small_sets.IDX)


def test_root_that_cannot_be_read(mnist, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    for name in ("mnist", "mine"):
        with pytest.raises(UserError, match=f"data root {mnist}: Permission denied"):
            data.load(name, mnist)

"""Checkpoint files: complete or not there, verified, rebuilt from the file alone, and unable to run code."""

import errno
import io
import os
import pickle
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.cider import CIDERNet
from utils import checkpoint, files
from utils.checkpoint import DamagedFile, load, load_checkpoint, official_format, save
from utils.errors import UserError
from utils.training.resume import saved_state
from utils.training.run_folder import RunFolder

CONTENT = {"a": torch.arange(6.0).reshape(2, 3), "b": {"c": [1, 2.5, None, "x", (True, -3)]}, "empty": torch.zeros(0)}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CIDERNet(width=8, feat_dim=4, num_classes=3).eval()


@pytest.fixture
def exported(model):
    prototypes = torch.eye(3, 4)
    return official_format(
        model, prototypes, method="supcon", epoch=7, args={"seed": 3, "id_loc": Path("x")}, class_names=("a", "b", "ü")
    )


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert torch.equal(one["a"], other["a"]) and one["b"] == other["b"] and len(other["empty"]) == 0


def test_what_is_saved_is_loaded(tmp_path):
    save(CONTENT, tmp_path / "new folder" / "x.pt")
    assert_same(load(tmp_path / "new folder" / "x.pt", checksum_required=True), CONTENT)
    # Other code needs to know nothing of the checksum.
    assert_same(torch.load(tmp_path / "new folder" / "x.pt", weights_only=True), CONTENT)
    assert zipfile.ZipFile(tmp_path / "new folder" / "x.pt").testzip() is None


def test_a_network_is_rebuilt_without_pytorch_s_compiler(tmp_path, exported):
    """To load it takes a second, which `detect.py` would have every user wait."""
    save(exported, tmp_path / "x.pt")
    script = "import sys; from utils.checkpoint import load_checkpoint; load_checkpoint(sys.argv[1])"
    script += "; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script, tmp_path / "x.pt"], cwd=files.REPOSITORY).returncode == 0


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path):
    path = tmp_path / "x.pt"
    save(CONTENT, path)
    good = path.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        path.write_bytes(bad)
        with pytest.raises(DamagedFile, match="x.pt is damaged"):
            load(path, checksum_required=True)
    for length in [*range(0, len(good), 16), *range(len(good) - 80, len(good))]:
        path.write_bytes(good[:length])
        with pytest.raises(DamagedFile, match="x.pt is damaged"):
            load(path, checksum_required=length > len(good) - 73)  # without the 73 bytes of the checksum it shows, too
    path.write_bytes(good + b"\0")
    with pytest.raises(DamagedFile):
        load(path, checksum_required=True)


def test_files_of_other_code_are_read_unless_a_checksum_is_required(tmp_path):
    path = tmp_path / "x.pt"
    for zip_format in (True, False):
        torch.save(CONTENT, path, _use_new_zipfile_serialization=zip_format)
        assert_same(load(path), CONTENT)
        with pytest.raises(DamagedFile, match="no checksum"):
            load(path, checksum_required=True)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04", b"\x80\x02", bytes(1000), b"\x80\x02}q\0."])
def test_anything_else_is_one_clear_message(tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    for read in (load, load_checkpoint):
        with pytest.raises(UserError, match="x.pt"):
            read(path)


def test_what_is_not_there_is_said(tmp_path):
    for path in (tmp_path / "x.pt", tmp_path):
        with pytest.raises(UserError, match="checkpoint not found"):
            load(path)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds a list, not a dict"):
        load(tmp_path / "list.pt")


@pytest.mark.parametrize("fault", ["write", "fsync", "rename"])
def test_a_failing_disk_leaves_what_was_there(tmp_path, monkeypatch, fault):
    path, previous = tmp_path / "x.pt", tmp_path / "previous.pt"
    save({"number": 1}, path, previous=previous)
    save({"number": 2}, path, previous=previous)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if fault == "write":
        monkeypatch.setattr(checkpoint, "_checksum", fail)
    else:
        monkeypatch.setattr(files.os, {"fsync": "fsync", "rename": "replace"}[fault], fail)
    with pytest.raises(UserError, match="x.pt not written: No space left on device") as error:
        save({"number": 3}, path, previous=previous)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert (load(path), load(previous)) == ({"number": 2}, {"number": 1})
    assert sorted(tmp_path.iterdir()) == [previous, path]


def test_an_export_rebuilds_the_network_and_holds_nothing_else(tmp_path, model, exported):
    path = tmp_path / "checkpoint_7.pth.tar"
    save(exported, path)
    found = load_checkpoint(path)
    images = torch.randn(2, 3, 32, 32)
    assert not found.model.training
    assert torch.equal(found.model(images), model(images))
    assert [name for name, p in found.model.named_parameters() if not p.requires_grad] == []
    assert (found.method.name, found.epoch, found.class_names) == ("supcon", 7, ("a", "b", "ü"))
    assert torch.equal(found.prototypes, torch.eye(3, 4))
    assert found.args == {"seed": 3, "id_loc": "x"}
    assert found.sha256 == files.file_sha256(path)
    names = {"epoch", "state_dict", "dis_state_dict", "method", "network", "model_config", "args", "class_names"}
    assert load(path).keys() == names
    weights = sum(value.nbytes for value in model.state_dict().values())
    assert weights < path.stat().st_size < weights + 400 * len(model.state_dict()) + 4000


def test_an_export_does_not_carry_the_storage_a_tensor_is_cut_from(tmp_path, model):
    large = torch.zeros(1000, 1000)
    save(official_format(model, large[:3, :4], method="cider", epoch=1, args={}, class_names=()), tmp_path / "x.pt")
    assert (tmp_path / "x.pt").stat().st_size < 1_000_000


@pytest.mark.parametrize("key, prefix", [("state_dict", ""), ("state_dict", "module."), ("model", "module.")])
def test_files_of_the_official_code_need_no_metadata(tmp_path, model, key, prefix):
    weights = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"epoch": 500, key: weights, "optimizer": {"state": {}}}, tmp_path / "x.pth.tar")
    found = load_checkpoint(tmp_path / "x.pth.tar")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(found.model(images), model(images))
    assert (found.method.name, found.epoch, found.args, found.class_names) == ("cider", 500, {}, ())
    assert found.prototypes is None


@pytest.mark.parametrize(
    "change",
    [
        {"state_dict": {}},
        {"state_dict": {"fc.weight": "text"}},
        {"state_dict": {1: torch.zeros(1)}},
        {"state_dict": {"encoder.conv1.weight": torch.zeros(2, 3, 3, 3)}},
        {"network": "os"},
        {"network": ["CIDERNet"]},
        {"method": "simclr"},
        {"method": "vos"},
        {"method": ["cider"]},
        {"model_config": {"arch": "resnet18", "width": 10**7, "num_classes": 3, "feat_dim": 4}},
        {"model_config": {"arch": "../x"}},
        {"model_config": {"command": "x"}},
        {"model_config": {3: 4}},
        {"model_config": "text"},
        {"dis_state_dict": [1]},
        {"dis_state_dict": {"prototypes": "text"}},
        {"epoch": "seven"},
        {"epoch": [7]},
        {"args": 5},
        {"class_names": 7},
        {"class_names": ["a", "b"]},
        {"epoch": float("inf")},
        {"epoch": float("nan")},
        {"dis_state_dict": {"prototypes": torch.ones(3)}},
    ],
)
def test_content_that_does_not_fit_is_one_clear_message(tmp_path, exported, change):
    save(exported | change, tmp_path / "x.pt")
    with pytest.raises(UserError, match="x.pt does not hold the weights of a network known here"):
        load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", ["sparse", "complex", "whole numbers", "text"])
def test_weights_of_another_kind_are_one_clear_message(tmp_path, exported, kind):
    weight = exported["state_dict"]["head.0.weight"]
    exported["state_dict"]["head.0.weight"] = {
        "sparse": weight.to_sparse(),
        "complex": weight.to(torch.complex64),
        "whole numbers": weight.long(),
        "text": "0.5",
    }[kind]
    save(exported, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x.pt does not hold .*\n  reason     : head\.0\.weight"):
        load_checkpoint(tmp_path / "x.pt")


def test_half_precision_weights_become_float32(tmp_path, exported, model):
    halves = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    save(exported | {"state_dict": halves}, tmp_path / "x.pt")
    found = load_checkpoint(tmp_path / "x.pt").model.state_dict()
    assert all(torch.equal(found[name], halves[name].to(found[name].dtype)) for name in halves)
    assert found["fc.weight"].dtype == torch.float32


def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path, exported):
    save(exported, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as small,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in small.namelist():
            bomb.writestr(name, small.read(name) + bytes(10**7))
    with pytest.raises(DamagedFile, match="bytes and says that it holds"):
        load(tmp_path / "bomb.pt")


@pytest.mark.parametrize("value", [np.zeros(3), Path("x"), nn.Linear(2, 2)])
def test_what_is_not_admitted_is_named(tmp_path, value):
    torch.save({"state_dict": {}, "extra": value}, tmp_path / "x.pt")
    name = {np.ndarray: r"numpy\.\S+", nn.Linear: r"torch\.nn\.\S+\.Linear"}.get(type(value), r"pathlib\.\S+")
    with pytest.raises(DamagedFile, match=f"x.pt holds a {name} and was not loaded: a checkpoint may hold tensors"):
        load(tmp_path / "x.pt")


@pytest.mark.parametrize("text", ["hello", "version 1", "<!DOCTYPE html>"])
def test_a_text_in_place_of_a_checkpoint(tmp_path, text):
    (tmp_path / "x.pt").write_text(text)
    with pytest.raises(DamagedFile, match="x.pt is damaged or not a checkpoint: it was not loaded$"):
        load(tmp_path / "x.pt")


def test_a_file_cannot_ask_for_a_download(tmp_path, exported):
    own = exported["model_config"]
    save(exported | {"model_config": own | {"pretrained": True}}, tmp_path / "x.pt")
    assert load_checkpoint(tmp_path / "x.pt").model.config == own  # a network that had been asked for it refuses


# Malicious files. Each would create CANARY if any code in it ran.


class Call:
    """Pickled as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def calls(canary: str):
    yield Call(os.system, f"touch {canary}")
    yield Call(exec, f"open({canary!r}, 'w')")
    yield Call(eval, f"open({canary!r}, 'w')")
    yield Call(open, canary, "w")
    yield Call(Path.touch, Path(canary))
    yield Call(os.mkdir, canary)
    yield Call(torch.save, {}, canary)
    yield Call(np.save, canary, np.zeros(1))
    yield Call(getattr(pickle, "loads"), pickle.dumps(Call(os.mkdir, canary)))  # noqa: B009


def as_files(content, folder: Path):
    """The same content in the formats that a checkpoint may come in."""
    torch.save(content, folder / "zip.pt")
    save(content, folder / "zip with checksum.pt")
    torch.save(content, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    for protocol in (0, 2, 4):
        (folder / f"plain pickle {protocol}.pt").write_bytes(pickle.dumps(content, protocol))
    with tarfile.open(folder / "tar.pt", "w") as archive:
        data = pickle.dumps(content)
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return sorted(folder.glob("*.pt"))


def test_malicious_checkpoints_create_nothing(tmp_path, exported):
    canary = tmp_path / "canary"
    tried = 0
    for call in calls(str(canary)):
        for content in (call, {**exported, "optimizer": call}, {"state_dict": {"fc.weight": call}}, {"x": [(call,)]}):
            for path in as_files(content, tmp_path):
                for read in (load, load_checkpoint, lambda path: saved_state(RunFolder(tmp_path), str(path), {}, "ce")):
                    with pytest.raises(UserError):
                        read(path)
                assert not canary.exists(), path.name
                tried += 1
    assert tried == 9 * 4 * 7
    # The files do what they are feared for where nobody is careful.
    with pytest.raises(Exception, match=r"."):
        torch.load(tmp_path / "zip.pt", weights_only=False)
        raise RuntimeError("loaded")
    assert canary.exists()


def test_a_program_in_place_of_a_checkpoint_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(tmp_path / "script.pt"))
    with pytest.raises(UserError, match="script.pt"):
        load_checkpoint(tmp_path / "script.pt")

"""More than 1,000 faulty feature caches: always the right features, and a warning where they are computed again."""

import os
from itertools import product

import numpy as np
import torch
from torch import nn

from tests.bad_files import Outcomes, cuts_and_flips, open_folder, restore, unprivileged
from utils.checkpoint import save
from utils.data.images import TensorImages
from utils.evaluation.features import extract


class Network(nn.Module):
    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"penultimate": x.mean((2, 3)), "logits": x[:, :2, 0, 0], "embedding": x.flatten(1)[:, :5]}


def test_a_thousand_faulty_feature_caches(tmp_path, monkeypatch, capsys):
    rng, outcomes = np.random.default_rng(20230305), Outcomes()
    monkeypatch.setattr(os, "fsync", lambda _: None)
    images = TensorImages("set", torch.from_numpy(rng.integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)))
    settings = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "device": "cpu", "cache_dir": tmp_path, "checkpoint_sha": "a"}
    right = extract(Network(), images, **settings).outputs
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    faults = list(cuts_and_flips(whole, right["penultimate"].numpy().tobytes(), rng, 90))
    stored = torch.load(path, weights_only=True)
    for i in range(30):
        for fault, changed, write in (
            ("another key", {"key": str(i)}, save),
            ("no outputs", {"outputs": {i: 1}, "key": 0}, save),
            ("no checksum", {"outputs": {"logits": torch.zeros(i, 2)}}, torch.save),
            ("pickled objects", {"outputs": Network()}, torch.save),
        ):
            faults.append((fault, lambda path, changed=changed, write=write: write(stored | changed, path)))
    for fault, damage in faults:
        restore(path, whole)
        damage(path)
        found = extract(Network(), images, **settings).outputs
        assert found.keys() == right.keys() and all(torch.equal(found[name], right[name]) for name in right), fault
        messages = capsys.readouterr().err.splitlines()
        assert all(path.name in message for message in messages)
        outcomes.add(fault, "computed again, file named" if messages else "right data")
    outcomes.check("feature cache")


def test_caches_that_may_not_be_read(capsys):
    images = TensorImages("set", torch.arange(480, dtype=torch.int32).view(10, 3, 4, 4).to(torch.uint8))
    with open_folder() as root:
        cache = root / "cache"
        settings = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "device": "cpu", "cache_dir": cache, "checkpoint_sha": "a"}
        right = extract(Network(), images, **settings).outputs["logits"]
        (path,) = cache.iterdir()
        for place, mode in product((path, cache), (*range(4), *range(0o700, 0o704), *range(0o600, 0o604))):
            for refused, allowed in ((path, 0o644), (cache, 0o755)):
                refused.chmod(mode if refused == place else allowed)
            with unprivileged():
                assert torch.equal(extract(Network(), images, **settings).outputs["logits"], right)
            assert (place == cache and mode & 1) or path.name in capsys.readouterr().err

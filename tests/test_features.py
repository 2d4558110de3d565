"""Feature extraction against one pass per image, and a cache that is hit, missed, damaged and refused."""

import re

import pytest
import torch
from torch import nn

from utils.checkpoint import save
from utils.data.images import TensorImages
from utils.evaluation.features import extract, images_at_once, layout_of, placed

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SETTINGS = {"mean": MEAN, "std": STD, "device": "cpu", "batch_size": 4}


class SmallNet(nn.Module):
    """Counts its forward passes, and differs between train and eval mode."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.seen = []

    def outputs(self, x):
        self.seen.append((tuple(x.shape), self.training, x.is_contiguous(memory_format=torch.channels_last)))
        penultimate = self.norm(self.conv(x)).mean((2, 3))
        return {"penultimate": penultimate, "logits": penultimate[:, :2] * 3}


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return TensorImages("a set/of images", pixels, torch.arange(10) % 3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SmallNet()


def test_equal_to_one_image_at_a_time_in_eval_mode(model, images):
    found = extract(model, images, **SETTINGS)
    assert [shape[0] for shape, _, _ in model.seen] == [4, 4, 2]
    assert not any(training for _, training, _ in model.seen)
    assert model.training
    assert torch.equal(found.labels, images.labels)
    model.eval()
    for i, pixels in enumerate(images.images):
        x = torch.stack([(pixels[c].double() / 255 - MEAN[c]) / STD[c] for c in range(3)]).float()[None]
        for name, expected in model.outputs(x).items():
            torch.testing.assert_close(found.outputs[name][i], expected[0].detach(), rtol=1e-5, atol=1e-5)


def test_a_cpu_takes_few_images_at_once_as_its_caches_are_small(model):
    images = TensorImages("noise", torch.zeros(40, 3, 8, 8, dtype=torch.uint8))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        extract(model, images, mean=MEAN, std=STD, device="cpu")
    finally:
        torch.set_num_threads(threads)
    assert [shape[0] for shape, _, _ in model.seen] == [16, 16, 8]
    assert images_at_once("cuda") == 512


def test_images_have_the_layout_of_the_network_which_on_a_cpu_is_nhwc_where_it_only_evaluates(model, images):
    extract(model, images, **SETTINGS)
    assert model.conv.weight.is_contiguous(), "a network in training stays as it is"
    assert layout_of(model) is torch.contiguous_format and not any(last for _, _, last in model.seen)
    model.seen.clear()
    extract(placed(model, torch.device("cpu")), images, **SETTINGS)
    assert layout_of(model) is torch.channels_last and all(last for _, _, last in model.seen)


def test_results_are_plain_float32_and_can_be_trained_on(model, images):
    model.to(memory_format=torch.channels_last)
    features = extract(model, images, amp="bf16", **SETTINGS).outputs["penultimate"]
    assert features.dtype == torch.float32
    assert model.seen[0][2]
    layer = nn.Linear(5, 2)
    layer(features).sum().backward()
    assert layer.weight.grad is not None


def test_cache_answers_without_a_forward_pass(model, images, tmp_path, capsys):
    cache = {"cache_dir": tmp_path, "checkpoint_sha": "a" * 64}
    first = extract(model, images, **SETTINGS, **cache)
    model.seen.clear()
    second = extract(model, images, **SETTINGS, **cache)
    assert model.seen == [] and capsys.readouterr().err == ""
    assert first.outputs.keys() == second.outputs.keys()
    assert all(torch.equal(first.outputs[name], second.outputs[name]) for name in first.outputs)
    assert torch.equal(second.labels, images.labels)


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint_sha": "b" * 64},
        {"mean": (0.4, 0.5, 0.61)},
        {"std": (0.2, 0.25, 0.31)},
        {"amp": "bf16"},
        {"pixels": 1},
    ],
)
def test_cache_is_missed_when_anything_that_matters_changes(model, images, tmp_path, change):
    settings = {**SETTINGS, "cache_dir": tmp_path, "checkpoint_sha": "a" * 64}
    extract(model, images, **settings)
    model.seen.clear()
    if "pixels" in change:
        pixels = images.images.clone()
        pixels[9, 2, 7, 7] ^= 1
        extract(model, TensorImages(images.name, pixels, images.labels), **settings)
    else:
        extract(model, images, **{**settings, **change})
    assert len(model.seen) == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_cache_is_named_and_mended(model, images, tmp_path, capsys):
    """tests/test_bad_caches.py has all kinds of damage."""
    settings = {**SETTINGS, "cache_dir": tmp_path, "checkpoint_sha": "a" * 64}
    extract(model, images, **settings)
    (path,) = tmp_path.iterdir()
    save({"key": "another", "outputs": {"penultimate": torch.zeros(10, 5)}}, path)
    extract(model, images, **settings)
    said = rf"warning: feature cache .*{path.name} is damaged \(it belongs to other settings\)"
    assert re.match(said, capsys.readouterr().err)
    model.seen.clear()
    extract(model, images, **settings)
    assert model.seen == []


def test_cache_that_cannot_be_written_is_said_and_not_fatal(model, images, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    found = extract(model, images, **SETTINGS, cache_dir=tmp_path / "file", checkpoint_sha="a" * 64)
    assert "warning: feature cache: " in (said := capsys.readouterr().err) and " not written: " in said
    assert len(found.outputs["penultimate"]) == 10

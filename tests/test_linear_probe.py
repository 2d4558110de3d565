"""The linear probe: its recipe against PyTorch's own scheduler, its seed, and what augmentation it sees."""

import torch
from torch import nn
from torch.nn import functional as F

from utils.data.batches import TrainBatches
from utils.data.images import TensorImages
from utils.evaluation import linear_probe
from utils.evaluation.linear_probe import OneView, cached_batches, train_probe


def features(count=64, dim=5, classes=3):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    return torch.eye(classes, dim)[labels] + 0.2 * torch.randn(count, dim, generator=generator), labels


def test_training_follows_the_recipe():
    rows, labels = features()
    batches = cached_batches(rows, labels, seed=1, batch_size=20)
    found = train_probe(batches, 5, 3, seed=1, device="cpu")
    torch.manual_seed(1)
    expected = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(expected.parameters(), lr=5.0, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [60, 75, 90], 0.2)
    for epoch in range(100):
        for some, their_labels in batches(epoch):
            optimizer.zero_grad()
            F.cross_entropy(expected(some), their_labels).backward()
            optimizer.step()
        schedule.step()
    torch.testing.assert_close(found.weight, expected.weight.detach())
    assert not found.weight.requires_grad
    assert (found(rows).argmax(1) == labels).all()


def test_every_epoch_has_all_images_in_another_order():
    rows, labels = features(count=10)
    batches = cached_batches(rows, labels, seed=1, batch_size=4)
    epochs = [[torch.cat(part) for part in zip(*batches(number), strict=True)] for number in (0, 1, 0)]
    assert [len(some) for some, _ in batches(0)] == [4, 4, 2]
    assert torch.equal(epochs[0][0], epochs[2][0]) and not torch.equal(epochs[0][0], epochs[1][0])
    assert all(torch.equal(some.sort(0).values, rows.sort(0).values) for some, _ in epochs)


def test_the_seed_decides_and_the_global_generator_is_left_alone(monkeypatch):
    monkeypatch.setattr(linear_probe, "LEARNING_RATE", 0.1)
    monkeypatch.setattr(linear_probe, "EPOCHS", 2)
    rows, labels = features()
    before = torch.get_rng_state()
    weights = [
        train_probe(cached_batches(rows, labels, seed=seed), 5, 3, seed=seed, device="cpu").weight for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_augmented_views_are_one_a_image_and_keep_their_colours():
    grey = torch.full((6, 3, 8, 8), 200, dtype=torch.uint8)
    grey[:, 0] = 90  # not grey: a change of colour would show
    view = OneView(8, crop_scale=(0.2, 1.0), hflip=True, mean=(0, 0, 0), std=(1, 1, 1))
    images = TensorImages("x", grey, torch.zeros(6, dtype=torch.int64))
    (batch,) = TrainBatches(images, view, batch_size=6, seed=0, device="cpu").epoch(0)
    torch.testing.assert_close(batch.images, grey / 255)

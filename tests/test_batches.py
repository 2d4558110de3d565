"""Training batches: the same stream whatever the processes, the workers and the batch at which an epoch is entered."""

import numpy as np
import pytest
import torch
from PIL import Image

from utils.data.augment import PaddedCrop, Plain, TwoViews
from utils.data.batches import TrainBatches
from utils.data.images import FileImages, TensorImages
from utils.data.order import batch_sizes, epoch_order
from utils.errors import UserError

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
SIZE = 16


@pytest.fixture(scope="module")
def memory():
    images = torch.randint(0, 256, (50, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return TensorImages("noise", images, torch.arange(50))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    paths = [folder / f"{i:02}.png" for i in range(14)]
    for i, path in enumerate(paths):
        Image.fromarray(random.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)).save(path)
    return FileImages("files", paths, SIZE, torch.arange(14))


def views(kind=TwoViews):
    if kind is Plain:
        return Plain(MEAN, STD)
    if kind is PaddedCrop:
        return PaddedCrop(SIZE, padding=2, hflip=True, mean=MEAN, std=STD)
    return TwoViews(SIZE, crop_scale=(0.2, 1.0), hflip=True, mean=MEAN, std=STD)


def train_batches(image_set, augmentation=None, **settings):
    settings = {"batch_size": 12, "seed": 3, "device": "cpu"} | settings
    return TrainBatches(image_set, augmentation or views(), **settings)


def assert_same(ours, theirs):
    assert (ours.epoch, ours.index) == (theirs.epoch, theirs.index)
    assert torch.equal(ours.labels, theirs.labels)
    torch.testing.assert_close(ours.images, theirs.images, atol=1e-5, rtol=0)


def test_an_epoch_visits_every_image_once_and_keeps_the_last_batch(memory):
    source = train_batches(memory)
    batches = list(source.epoch(2))
    assert len(source) == len(batches) == 5
    assert [batch.index for batch in batches] == [0, 1, 2, 3, 4] and batches[0].epoch == 2
    assert [len(batch.labels) for batch in batches] == [12, 12, 12, 12, 2]
    assert [len(batch.images) for batch in batches] == [24, 24, 24, 24, 4]
    assert torch.equal(torch.cat([batch.labels for batch in batches]), epoch_order(3, 2, 50))


def test_labels_belong_to_the_images_and_view_one_comes_first(memory):
    augmentation = views()
    augmentation.jitter_probability = augmentation.grey_probability = 0.0
    augmentation.crop_scale, augmentation.hflip = (1.0, 1.0), False
    for batch in train_batches(memory, augmentation).epoch(0):
        expected = (memory.images[batch.labels].float() / 255 - 0.5) / 0.25
        first, second = batch.images.chunk(2)
        for view in (first, second):
            # A crop of the whole area is all but the whole image: sides are rounded, so compare means.
            assert (view.mean(dim=(2, 3)) - expected.mean(dim=(2, 3))).abs().max() < 0.35
    for batch in train_batches(memory, views(Plain)).epoch(0):
        expected = (memory.images[batch.labels].float() / 255 - 0.5) / 0.25
        torch.testing.assert_close(batch.images, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [TwoViews, PaddedCrop])
def test_the_stream_depends_on_seed_and_epoch_alone(memory, kind):
    ours = list(train_batches(memory, views(kind)).epoch(1))
    torch.manual_seed(99)
    for one, other in zip(ours, train_batches(memory, views(kind)).epoch(1), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    for settings, epoch in (({"seed": 4}, 1), ({}, 2)):
        other = next(train_batches(memory, views(kind), **settings).epoch(epoch))
        assert not torch.equal(other.labels, ours[0].labels)


def test_the_global_random_state_is_left_alone(memory, files):
    state = torch.get_rng_state()
    list(train_batches(memory).epoch(0))
    list(train_batches(files).epoch(0))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("source", ["memory", "files"])
def test_an_epoch_can_be_entered_at_any_batch(request, source):
    image_set = request.getfixturevalue(source)
    whole = list(train_batches(image_set, batch_size=5).epoch(1))
    for start in (1, len(whole) - 1, len(whole)):
        rest = list(train_batches(image_set, batch_size=5).epoch(1, start=start))
        assert len(rest) == len(whole) - start
        for one, other in zip(rest, whole[start:], strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("kind", [TwoViews, PaddedCrop, Plain])
@pytest.mark.parametrize("world_size", [1, 2])
def test_batches_that_are_made_together_are_those_made_alone(memory, kind, world_size):
    """As on a GPU without --compile."""
    common = dict(batch_size=11, rank=world_size - 1, world_size=world_size, channels_last=True)
    alone = list(train_batches(memory, views(kind), **common).epoch(1))
    for start in (0, 1, 4):
        source = train_batches(memory, views(kind), **common)
        source._together = 3
        together = list(source.epoch(1, start=start))
        assert len(together) == len(alone) - start
        for one, other in zip(together, alone[start:], strict=True):
            assert_same(one, other)
            assert one.images.is_contiguous(memory_format=torch.channels_last)


def test_batches_are_made_in_the_same_groups_wherever_an_epoch_is_entered(memory, monkeypatch):
    augmentation, made = views(), []
    apply = augmentation.apply
    monkeypatch.setattr(augmentation, "apply", lambda images, *more: made.append(len(images)) or apply(images, *more))
    source = train_batches(memory, augmentation)
    source._together = 2
    for start, groups in ((0, [24, 24, 2]), (1, [24, 24, 2]), (3, [24, 2]), (4, [2])):
        made.clear()
        assert len(list(source.epoch(0, start))) == 5 - start
        assert made == groups


def test_the_augmentation_is_drawn_once_an_epoch_and_ahead(memory, monkeypatch):
    """A draw for every batch would cost more host time than the rest of a step on a GPU."""
    augmentation, counts = views(), []
    draw = augmentation.draw
    monkeypatch.setattr(augmentation, "draw", lambda n, *more: counts.append(n) or draw(n, *more))
    source = train_batches(memory, augmentation)
    for _ in source.epoch(0):
        pass
    assert counts == [50, 50], "one draw for this epoch, and one for the next"
    for _ in source.epoch(1):
        pass
    assert counts == [50] * 3 and len(source._drawn) == 2


@pytest.mark.parametrize("source", ["memory", "files"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_the_processes_together_have_the_batch_of_one(request, source, world_size):
    image_set = request.getfixturevalue(source)
    size = 11 if source == "memory" else 5
    one = list(train_batches(image_set, batch_size=size).epoch(0))
    shares = [
        list(train_batches(image_set, batch_size=size, rank=rank, world_size=world_size).epoch(0))
        for rank in range(world_size)
    ]
    for index, batch in enumerate(one):
        parts = [share[index] for share in shares]
        assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
        for view, whole in enumerate(batch.images.chunk(2)):
            joined = torch.cat([part.images.chunk(2)[view] for part in parts])
            torch.testing.assert_close(joined, whole, atol=1e-5, rtol=0)


def test_the_number_of_workers_changes_nothing(files):
    alone, with_workers = train_batches(files, batch_size=5), train_batches(files, batch_size=5, workers=2)
    for epoch in (0, 1):
        for one, other in zip(alone.epoch(epoch), with_workers.epoch(epoch), strict=True):
            assert_same(one, other)


def test_a_left_epoch_does_not_leak_into_the_next(files):
    source = train_batches(files, batch_size=5, workers=1)
    next(source.epoch(0))
    for one, other in zip(source.epoch(1), train_batches(files, batch_size=5).epoch(1), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("kind", [Plain, PaddedCrop])
def test_files_with_one_view_give_what_memory_gives(files, kind):
    images = torch.cat(list(files.batches(8, "cpu")))
    memory = TensorImages("same", images, files.labels)
    for one, other in zip(
        train_batches(files, views(kind)).epoch(0), train_batches(memory, views(kind)).epoch(0), strict=True
    ):
        assert_same(one, other)


def test_channels_last_changes_the_layout_alone(memory):
    ours, theirs = next(train_batches(memory, channels_last=True).epoch(0)), next(train_batches(memory).epoch(0))
    assert ours.images.is_contiguous(memory_format=torch.channels_last)
    assert theirs.images.is_contiguous()
    assert_same(ours, theirs)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_named(files, tmp_path, workers):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(files.paths[0].read_bytes()[:200])
    image_set = FileImages("files", [*files.paths[:3], damaged], SIZE, torch.arange(4))
    with pytest.raises(UserError, match="damaged.png"):
        list(train_batches(image_set, batch_size=2, workers=workers).epoch(0))


def test_settings_that_cannot_work_are_refused(memory):
    with pytest.raises(ValueError, match="no labels"):
        train_batches(TensorImages("unlabelled", memory.images))
    with pytest.raises(ValueError, match="size 16, augmentation for 8"):
        train_batches(memory, PaddedCrop(8, padding=2, hflip=True, mean=MEAN, std=STD))
    with pytest.raises(ValueError, match="a batch of 2 images for 3 processes is too small\n.*--batch-size 11, or"):
        train_batches(memory, world_size=3)
    one_view = views(PaddedCrop)
    with pytest.raises(ValueError, match="a batch of 1 images for 1 process is too small\n.*--batch-size 2$"):
        train_batches(memory, one_view, batch_size=1)
    with pytest.raises(ValueError, match="take fewer processes, or more than 3 images"):
        train_batches(memory.subset([0, 1, 2]), one_view, world_size=2)
    assert len(train_batches(memory, batch_size=1)) == 50  # two views of an image are two rows


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(50, 12, [12, 12, 12, 12, 2]), (49, 12, [12, 12, 12, 13]), (13, 12, [13]), (1, 12, [1]), (3, 1, [1, 1, 1])],
)
def test_a_single_image_at_the_end_joins_the_batch_before(count, batch_size, sizes):
    assert batch_sizes(count, batch_size) == sizes


@pytest.mark.parametrize("source", ["memory", "files"])
def test_an_epoch_with_a_joined_batch_visits_all_images_and_can_be_entered_anywhere(request, source):
    image_set = request.getfixturevalue(source).subset(range(13))
    shares = [list(train_batches(image_set, batch_size=4, rank=r, world_size=2).epoch(1)) for r in (0, 1)]
    assert [[len(batch.labels) for batch in share] for share in shares] == [[2, 2, 2], [2, 2, 3]]
    assert sorted(label for share in shares for batch in share for label in batch.labels.tolist()) == list(range(13))
    (last,) = train_batches(image_set, batch_size=4, rank=1, world_size=2).epoch(1, start=2)
    assert_same(last, shares[1][2])
    whole = train_batches(image_set, batch_size=4, drop_rest=True)
    assert [len(batch.labels) for batch in whole.epoch(0)] == [4, 4, 4]

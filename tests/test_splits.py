"""Splits of the unlabelled mix: sizes, seeds, disjointness, files; the mix itself, twins, and the paired batches."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from PIL import Image

from utils.data.augment import Plain
from utils.data.batches import PairedBatches, TrainBatches
from utils.data.id_sets import IDData, load_id
from utils.data.images import FileImages, TensorImages
from utils.data.splits import SetSplit, Split, as_plain, choice_size, from_plain, load_split, save_split, split_set
from utils.data.unlabelled import NO_LABEL, joined, load_mix
from utils.errors import UserError


def pictures(count: int, seed: int = 0, name: str = "set", labels=None, size: int = 4) -> TensorImages:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=draw)
    return TensorImages(name, images, labels)


# ---- the lists


@pytest.mark.parametrize(("images", "wanted", "size"), [
    (10_000, None, 1_000), (26_032, None, 1_000), (8_925, None, 892), (9_999, None, 999), (500, None, 50),
    (214, 50, 50), (10_000, 60, 60), (52, 50, 50),
])  # fmt: skip
def test_choice_is_1000_or_a_tenth_or_what_was_asked_for(images, wanted, size) -> None:
    assert choice_size("set", images, wanted) == size


@pytest.mark.parametrize(("images", "wanted", "said"), [
    (214, None, "digits test gives 21 of its 214 images"),
    (499, None, "gives 49 of its 499"),
    (1_000, 49, "gives 49 of its 1,000"),
    (51, 50, "gives 50 of its 51"),
])  # fmt: skip
def test_too_few_images_for_the_choice_are_an_error_with_the_count(images, wanted, said) -> None:
    with pytest.raises(UserError, match=said):
        choice_size("digits test", images, wanted)


def test_lists_of_both_modes_are_disjoint_complete_and_nested() -> None:
    numbers = dict(choice=1_000, seed=3)
    whole, halves = split_set(10_000, "transductive", **numbers), split_set(10_000, "inductive", **numbers)
    assert whole.choice == halves.choice and len(whole.choice) == 1_000
    assert whole.unlabelled == whole.scored and len(whole.scored) == 9_000
    assert len(halves.unlabelled) == len(halves.scored) == 4_500
    assert set(halves.unlabelled) | set(halves.scored) == set(whole.scored)
    assert set(halves.scored) < set(whole.scored) and not set(halves.scored) & set(halves.unlabelled)
    everything = Counter(whole.choice + whole.scored)
    assert everything.keys() == set(range(10_000)) and set(everything.values()) == {1}
    assert 400 < sum(row < 5_000 for row in whole.choice) < 600  # drawn from everywhere


def test_lists_depend_on_seed_and_number_alone() -> None:
    one = split_set(300, "inductive", choice=50, seed=0)
    assert one == split_set(300, "inductive", choice=50, seed=0)
    assert one.scored != split_set(300, "inductive", choice=50, seed=1).scored
    torch.manual_seed(9)
    assert one == split_set(300, "inductive", choice=50, seed=0)
    assert one.choice[:5] == (1, 13, 16, 17, 18)  # whatever the version


def a_split(mode: str = "inductive") -> Split:
    parts = [split_set(images, mode, choice=50, seed=0, fingerprint=f"print {images}") for images in (120, 300)]
    return Split(mode, 0, "digits", parts[0], {"digits-6-9": parts[1]})


@pytest.mark.parametrize("mode", ["transductive", "inductive"])
def test_a_file_gives_back_the_split(mode, tmp_path) -> None:
    save_split(tmp_path / "split.json", a_split(mode))
    assert load_split(tmp_path / "split.json") == a_split(mode)


def test_files_that_are_no_split_are_named(tmp_path) -> None:
    path = tmp_path / "split.json"
    with pytest.raises(UserError, match="list of images not found"):
        load_split(path)
    save_split(path, a_split())
    good = json.loads(path.read_text())
    overlap = json.loads(path.read_text())
    overlap["id"]["unlabelled"] = overlap["id"]["scored"]
    beyond = json.loads(path.read_text())
    beyond["ood"]["digits-6-9"]["scored"][-1] = 300
    faults = [overlap, beyond, good | {"mode": "both"}, {"mode": "inductive"}, [], good | {"id": 3}, good | {"ood": []}]
    for fault in [json.dumps(fault) for fault in faults] + [
        "{",
        "",
        "[" * 100_000,
        json.dumps(good | {"seed": float("inf")}),
    ]:
        path.write_text(fault)
        with pytest.raises(UserError, match="not a split.json"):
            load_split(path)


def test_a_split_that_does_not_keep_its_promise_is_refused() -> None:
    good = a_split("inductive")
    with pytest.raises(ValueError, match="scores images that are in the unlabelled mix"):
        replace(good, id=replace(good.id, scored=good.id.unlabelled))
    with pytest.raises(ValueError, match="does not score what is in the unlabelled mix"):
        replace(good, mode="transductive")
    with pytest.raises(ValueError, match="choose the epoch are among"):
        SetSplit(10, choice=(1, 2), unlabelled=(2, 3), scored=(4,))
    for rows in ((), (3, 3), (4, 3), (-1, 3), (10,)):
        with pytest.raises(ValueError, match="not a list of different rows"):
            SetSplit(10, choice=(1, 2), unlabelled=(5,), scored=rows)


# ---- the mix


@pytest.fixture(scope="module")
def data() -> IDData:
    return load_id("digits")


@pytest.mark.parametrize("mode", ["transductive", "inductive"])
def test_mix_holds_the_listed_images_without_labels(mode, data) -> None:
    mix = load_mix(data, ["digits-6-9", "gaussian-noise"], mode=mode, choice=50)
    parts = [mix.split.id, *mix.split.ood.values()]
    assert list(mix.split.ood) == ["digits-6-9", "gaussian-noise"]
    assert len(mix.unlabelled) == sum(len(part.unlabelled) for part in parts)
    assert (mix.unlabelled.labels == NO_LABEL).all()
    own = data.test.images[list(mix.split.id.unlabelled)]
    assert torch.equal(mix.unlabelled.images[: len(own)], own)
    assert torch.equal(mix.choice_id.images, data.test.images[list(mix.split.id.choice)])
    assert len(mix.choice_ood) == 100
    assert mix.split.id.fingerprint == data.test.fingerprint
    assert from_plain(json.loads(json.dumps(as_plain(mix.split)))) == mix.split


def test_an_inductive_mix_drops_scored_twins_of_unlabelled_images(data) -> None:
    base = pictures(100, size=32)
    twice = TensorImages("t", torch.cat([base.images, base.images]), torch.zeros(200))
    mix = load_mix(replace(data, test=twice), ["gaussian-noise"], mode="inductive", choice=50)
    images = {name: {twice.images[row].numpy().tobytes() for row in getattr(mix.split.id, name)}
              for name in ("unlabelled", "scored")}  # fmt: skip
    assert images["scored"] and not images["scored"] & images["unlabelled"]
    dropped = 75 - len(mix.split.id.scored)
    assert dropped > 0 and any(note.startswith(f"{dropped} images are not scored") for note in mix.notes)
    whole = load_mix(replace(data, test=twice), ["gaussian-noise"], mode="transductive", choice=50)
    assert len(whole.split.id.scored) == 150 and not whole.notes


def test_a_set_named_twice_or_too_small_is_an_error(data) -> None:
    with pytest.raises(UserError, match="names one set twice"):
        load_mix(data, ["digits-6-9", "DIGITS-6-9"], mode="inductive", choice=50)
    with pytest.raises(UserError, match="digits test gives 21 of its 214 images for the choice"):
        load_mix(data, ["digits-6-9"], mode="transductive")


def test_files_are_joined_with_files_and_decoded_beside_images_in_memory(tmp_path) -> None:
    memory = pictures(3)
    for row in range(3):
        Image.fromarray(memory.images[row].permute(1, 2, 0).numpy()).save(tmp_path / f"{row}.png")
    files = FileImages("f", sorted(tmp_path.glob("*.png")), 4)
    both = joined("both", [files, files.subset([1])])
    assert isinstance(both, FileImages) and [path.name for path in both.paths] == ["0.png", "1.png", "2.png", "1.png"]
    mixed = joined("mixed", [memory, files])
    assert isinstance(mixed, TensorImages) and torch.equal(mixed.images, torch.cat([memory.images] * 2))
    assert mixed.labels.tolist() == [NO_LABEL] * 6 == both.labels.tolist() + [NO_LABEL] * 2


# ---- batches


def paired(labelled: int, unlabelled: int, batch_size: int = 4) -> PairedBatches:
    plain, common = Plain((0,) * 3, (1 / 255,) * 3), dict(seed=1, device="cpu")
    first = TrainBatches(pictures(labelled, labels=torch.arange(labelled)), plain, batch_size=batch_size, **common)
    others = pictures(unlabelled, 1, labels=torch.full((unlabelled,), NO_LABEL))
    return PairedBatches(
        first, TrainBatches(others, plain, batch_size=min(batch_size, unlabelled), drop_rest=True, **common)
    )


def test_an_epoch_can_be_entered_at_any_batch() -> None:
    batches = paired(18, 11)
    assert len(batches) == 5
    for epoch in range(3):
        whole = list(batches.epoch(epoch))
        assert [len(batch.labels) for batch in whole] == [4, 4, 4, 4, 2]
        for start in range(5):
            for one, other in zip(whole[start:], batches.epoch(epoch, start), strict=True):
                assert (one.epoch, one.index) == (other.epoch, other.index)
                assert torch.equal(one.images, other.images) and torch.equal(one.unlabelled, other.unlabelled)


def test_unlabelled_batches_are_whole_and_go_round_in_new_orders() -> None:
    batches = paired(18, 11)
    found = [batch for epoch in range(4) for batch in batches.epoch(epoch)]
    assert {(len(batch.unlabelled), batch.unlabelled_size) for batch in found} == {(4, 4)}
    seen = [image.numpy().tobytes() for batch in found for image in batch.unlabelled]
    passes = [seen[start : start + 8] for start in range(0, len(seen), 8)]
    assert all(len(set(each)) == 8 for each in passes)  # two batches of eleven images, none twice
    assert len({frozenset(each) for each in passes}) > 5 and len(set(seen)) == 11


def test_fewer_unlabelled_images_than_a_batch_are_all_in_each() -> None:
    found = list(paired(18, 3).epoch(0))
    assert {len(batch.unlabelled) for batch in found} == {3}
    assert len({frozenset(image.numpy().tobytes() for image in batch.unlabelled) for batch in found}) == 1

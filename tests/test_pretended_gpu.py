"""Training steps up to their losses on a GPU that is only pretended.

The tensors have shapes and devices but no data, so that whatever would make the host wait for the device (a value read,
a shape that depends on values) is an error, and so is a mixture of devices. What no pretended device can show: the
backward pass, kernels of our own, and what libraries do inside.
"""

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import train_cider
import train_mcd
import train_vos
from models.cider import CIDERNet
from models.mcd import MCDNet
from models.vos import VOSNet
from utils import outliers, prototypes
from utils.data.augment import PaddedCrop, Plain, TwoViews
from utils.data.batches import Batch, TrainBatches
from utils.data.images import TensorImages
from utils.outliers import ClassQueues, NoiseOfSteps
from utils.prototypes import EMAPrototypes, LearnablePrototypes
from utils.prototypes.mixture import MixturePrototypes
from utils.training.meter import LossMeter
from utils.training.recipe import ForwardPass, Step, cross_entropy_step

GPU = torch.device("cuda")
IMAGES, CLASSES = 8, 4
CHANNELS = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}


class Waits(TorchDispatchMode):
    """Notes the copies from one device to the other for which the host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[-1] if function is torch.ops.aten.copy_.default else args[0]
            devices = {each.device.type for each in (source, *tree_leaves(result)) if isinstance(each, Tensor)}
            asynchronous = kwargs.get("non_blocking") or False
            if len(devices) > 1 and not asynchronous:
                self.found.append(f"{function} of {tuple(source.shape)}")
        return result


@pytest.fixture
def pretended(monkeypatch) -> FakeTensorMode:
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)  # needs a driver
    mode = FakeTensorMode()
    monkeypatch.setattr(prototypes, "scan_prototypes", lambda mu, z, labels, momentum: F.normalize(mu + z.mean(0)))
    return mode


@contextlib.contextmanager
def without_waits() -> Iterator[None]:
    with Waits() as waits:
        yield
    assert waits.found == []


def views_of(mode: FakeTensorMode, augmentation: Plain) -> Tensor:
    """What `augmentation` makes of a batch on the GPU of the numbers that it draws on the CPU."""
    with mode:
        images = torch.zeros(IMAGES, 3, 32, 32, dtype=torch.uint8, device=GPU)
        with without_waits():
            params = augmentation.draw(IMAGES, torch.Generator().manual_seed(0), GPU)
            views = augmentation.apply(images, params, channels_last=True)
    assert views.device.type == "cuda" and views.shape == (augmentation.views * IMAGES, 3, 32, 32)
    return views


@pytest.mark.parametrize(("batch_size", "together"), [(512, 4), (4096, 1)])
def test_small_batches_are_made_several_at_once(pretended, batch_size, together) -> None:
    augmentation = TwoViews(32, crop_scale=(0.2, 1.0), hflip=True, **CHANNELS)
    with pretended:
        count = 6 * batch_size + 2
        images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
        image_set = TensorImages("nothing", images, torch.zeros(count, dtype=torch.int64))
        source = TrainBatches(image_set, augmentation, batch_size=batch_size, seed=0, device=GPU, channels_last=True)
        assert source._together == together
        batches = source.epoch(0)
        found = [next(batches)]  # the order of an epoch is copied to the GPU, which may wait
        with without_waits():
            found += [next(batches) for _ in range(6)]
    for batch in found:
        assert batch.images.device.type == batch.labels.device.type == "cuda"
        assert batch.images.shape == (2 * batch.size, 3, 32, 32)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


def take_steps(network: ForwardPass, batch: Batch, *steps: Step) -> None:
    """Losses of every optimisation step of a batch, with the meter's part."""
    meter = LossMeter()
    for number, step in enumerate(steps):
        losses = step(network, batch)
        assert losses["loss"].requires_grad
        meter.add(losses, number)


def two_views(mode: FakeTensorMode) -> Batch:
    views = views_of(mode, TwoViews(32, crop_scale=(0.2, 1.0), hflip=True, **CHANNELS))
    return Batch(views, labels_on_gpu(mode), IMAGES, 0, 0)


def labels_on_gpu(mode: FakeTensorMode) -> Tensor:
    with mode:
        return torch.zeros(IMAGES, dtype=torch.int64, device=GPU)


@pytest.mark.parametrize("loss", ["cider", "learnable", "supcon", "palm", "ce"])
def test_a_step_of_cider_and_its_baselines(pretended, loss) -> None:
    batch = two_views(pretended)
    with pretended:
        with torch.device(GPU):
            model = CIDERNet("resnet18", feat_dim=16, num_classes=CLASSES, width=8)
            moving, learnable = EMAPrototypes(CLASSES, 16, 0.5), LearnablePrototypes(CLASSES, 16)
            mixture = MixturePrototypes(CLASSES, 6, 16, 0.9, nearest=5)
        step = {
            "cider": train_cider.cider_step(moving, w=2.0, temperature=0.1),
            "learnable": train_cider.cider_step(learnable, w=2.0, temperature=0.1),
            "supcon": train_cider.supcon_step(0.1),
            "palm": train_cider.palm_step(mixture, w=1.0, temperature=0.1),
            "ce": cross_entropy_step,
        }[loss]
        if loss == "ce":
            batch = Batch(batch.images[:IMAGES], batch.labels, IMAGES, 0, 0)
        with without_waits():
            take_steps(ForwardPass(model, "logits" if loss == "ce" else "forward"), batch, step)


@pytest.mark.parametrize("epoch", [0, 1], ids=["before-outliers", "with-outliers"])
def test_a_step_of_vos(pretended, monkeypatch, epoch) -> None:
    monkeypatch.setattr(outliers, "least_likely_noise", lambda *sizes: torch.zeros(sizes[0], 1, sizes[1]).double())
    views = views_of(pretended, PaddedCrop(32, hflip=True, **CHANNELS))
    labels = labels_on_gpu(pretended)
    with pretended:
        with torch.device(GPU):
            model = VOSNet("resnet18", CLASSES, 16, width=8)
            queues = ClassQueues([5] * CLASSES, model.embedding_dim)
            noise = NoiseOfSteps(CLASSES, 16, 100, 1, lambda *_: None, GPU, first_epoch=1)
        network = ForwardPass(model, "outputs", model.uncertainty_parameters())
        step = train_vos.vos_step(model, queues, loss_weight=0.1)
        with without_waits():
            take_steps(network, Batch(views, labels, IMAGES, epoch, 1, noise.of(epoch, 1)), step)


def test_both_steps_of_mcd(pretended) -> None:
    views = views_of(pretended, Plain(**CHANNELS))
    labels = labels_on_gpu(pretended)
    with pretended:
        with torch.device(GPU):
            network = ForwardPass(MCDNet("resnet18", CLASSES, width=8), "passes")
        batch = Batch(views, labels, IMAGES, 0, 0, unlabelled=views, unlabelled_size=IMAGES)
        with without_waits():
            take_steps(network, batch, train_mcd.step_a, train_mcd.step_b(1.2))


def test_the_pretended_gpu_notices_what_it_is_for(pretended) -> None:
    with pretended:
        values = torch.zeros(3, device=GPU)
        with pytest.raises(DataDependentOutputException):
            values.sum().item()
        with pytest.raises(RuntimeError, match="cpu"):
            values + torch.zeros(3)
        with Waits() as waits:
            torch.zeros(2).to(GPU)
            torch.zeros(2).to(GPU, non_blocking=True)
            values.cpu()
        assert len(waits.found) == 2

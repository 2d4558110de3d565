"""Compiled and recorded steps give what the plain ones give, for every method, whatever batches come.

The compiler's back end here is aot_eager, which traces like the real one and generates no code.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

import train_cider
import train_mcd
import train_vos
from models.cider import CIDERNet
from models.mcd import MCDNet
from models.vos import VOSNet
from tests.training_runs import differences, run, signal_after_lines, trained
from utils.data.augment import PaddedCrop, TwoViews
from utils.data.batches import Batch, TrainBatches
from utils.data.images import TensorImages
from utils.outliers import ClassQueues
from utils.prototypes import EMAPrototypes
from utils.prototypes.mixture import MixturePrototypes
from utils.training.optimisation import Optimisation, sgd
from utils.training.precision import Precision
from utils.training.recipe import ForwardPass, Recipe, cross_entropy_step
from utils.training.settings import RunSettings

CLASSES, FULL, REST = 3, 8, 5
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
METHODS = ("cider", "supcon", "palm", "ce", "vos", "mcd")


@pytest.fixture(autouse=True)
def traced_only(monkeypatch):
    """Compile without code generation, from nothing."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()


def recipe_of(method: str) -> Recipe:
    torch.manual_seed(0)
    cider = CIDERNet("resnet18", feat_dim=6, num_classes=CLASSES, width=8)
    if method == "cider":
        prototypes = EMAPrototypes(CLASSES, 6, 0.5)
        step = train_cider.cider_step(prototypes, w=2.0, temperature=0.1)
        return Recipe(model=cider, steps=(step,), augmentation=None, prototypes=prototypes)
    if method == "palm":
        mixture = MixturePrototypes(CLASSES, 4, 6, 0.9, nearest=2)
        step = train_cider.palm_step(mixture, w=1.0, temperature=0.1)
        return Recipe(model=cider, steps=(step,), augmentation=None, others={"mixture": mixture})
    if method == "supcon":
        return Recipe(model=cider, steps=(train_cider.supcon_step(0.1),), augmentation=None)
    if method == "ce":
        return Recipe(model=cider, steps=(cross_entropy_step,), augmentation=None, forward="logits")
    if method == "vos":
        model = VOSNet("resnet18", CLASSES, 16, width=8)
        queues = ClassQueues([6] * CLASSES, 16)
        queues.update(torch.randn(18, 16).relu(), torch.arange(18) % CLASSES)
        step = train_vos.vos_step(model, queues, 0.1)
        others, late = {"queues": queues}, model.uncertainty_parameters()
        return Recipe(model=model, steps=(step,), augmentation=None, forward="outputs", others=others, late=late)
    model = MCDNet("resnet18", CLASSES, width=8)
    return Recipe(model=model, steps=(train_mcd.step_a, train_mcd.step_b(1.2)), augmentation=None, forward="passes")


def batches(method: str, device: torch.device) -> Iterator[Batch]:
    """Two epochs of full batches and a rest; in the second one VOS has noise."""
    draw = torch.Generator().manual_seed(1)
    views = 2 if method in ("cider", "supcon", "palm") else 1
    for epoch in range(2):
        for index, size in enumerate([FULL] * 6 + [REST]):
            images = torch.randn(views * size, 3, 32, 32, generator=draw).to(device)
            labels = torch.randint(CLASSES, (size,), generator=draw).to(device)
            noise = torch.randn(CLASSES, 1, 16, generator=draw).to(device) if method == "vos" and epoch else None
            others = torch.randn(FULL, 3, 32, 32, generator=draw).to(device) if method == "mcd" else None
            yield Batch(images, labels, size, epoch, index, noise, others, FULL)


def train(method: str, device: torch.device, recipe: Recipe | None = None, **more) -> tuple[list[dict], Optimisation]:
    """The losses of all steps, from the same start, and what took them.

    In float64, for in float32 rounding alone grows to 10 % in these steps, on few images and channels.
    """
    recipe = recipe or recipe_of(method)
    for module in recipe.modules.values():
        module.to(device, torch.float64).train()
    settings = RunSettings(seed=0, epochs=2, batch_size=FULL, learning_rate=0.1)
    optimizer = sgd(recipe, settings, device)
    network = ForwardPass(recipe.model, recipe.forward, recipe.late)
    taken = Optimisation(network, recipe, optimizer, Precision("off", device), device, **more)
    found = []
    for batch in batches(method, device):
        batch = replace(batch, **{k: v.double() for k, v in batch.tensors().items() if v.is_floating_point()})
        lr = (8 + batch.index) / 1024  # exact in float32, to which a recording rounds it
        for losses in taken(batch, lr):
            found.append({name: value.item() for name, value in losses.items()})
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr)
    return found, taken


def assert_same(ours: list[dict], theirs: list[dict]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_network_trains_like_the_plain_one_and_is_traced_once(method):
    cpu = torch.device("cpu")
    plain, _ = train(method, cpu)
    compiled, _ = train(method, cpu, compile_size=FULL)
    assert_same(compiled, plain)
    assert counters["stats"]["unique_graphs"] == (2 if method == "mcd" else 1), "one a kind of pass, none for the rest"
    assert not counters["graph_break"]


def test_batches_that_come_with_a_compilation_or_a_search_are_not_steady(monkeypatch):
    """Their time is left out of the rate and of the estimate of the time left."""
    steady = []
    take = Optimisation.__call__
    monkeypatch.setattr(Optimisation, "__call__", lambda self, *its: (take(self, *its), steady.append(self.steady))[0])
    train("ce", torch.device("cpu"), compile_size=FULL)
    assert steady == [False] * 3 + [True] * 3 + [False] + [True] * 7
    steady.clear()
    train("ce", torch.device("cpu"))
    assert all(steady), "nothing is compiled, and nothing left out"


@pytest.mark.parametrize("kind", ["two views", "padded crop"])
def test_the_compiled_augmentation_is_the_plain_one(kind):
    common = dict(hflip=True, mean=(0.5,) * 3, std=(0.25,) * 3)
    augmentation = TwoViews(16, crop_scale=(0.2, 1.0), **common) if kind == "two views" else PaddedCrop(16, **common)
    images = torch.randint(0, 256, (FULL, 3, 16, 16), dtype=torch.uint8)
    params = augmentation.draw(FULL, torch.Generator().manual_seed(0)).flatten(0, 1)
    images = images.repeat(augmentation.views, 1, 1, 1)

    def views(images: Tensor, params: Tensor) -> Tensor:
        return augmentation._views(images, params, False, None)

    compiled = torch.compile(views, dynamic=False, fullgraph=True)
    torch.testing.assert_close(compiled(images, params), views(images, params))


def trace_only() -> None:
    torch.compile = functools.partial(torch.compile, backend="aot_eager")


def fail() -> None:
    def broken(graph: nn.Module, inputs: list[Tensor]):
        raise RuntimeError("no compiler\nfound here")

    torch.compile = functools.partial(torch.compile, backend=broken)


def test_a_compiled_run_says_so_and_leaves_the_compilation_out_of_the_rate(tmp_path):
    outcome = run(tmp_path, "--compile", "--epochs", "2", fault=trace_only)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[1] == "compiling ..."
    assert lines[2].endswith("  compiling") and "img/s" not in lines[2]
    assert "img/s" in lines[-4]


def test_a_compiler_that_fails_is_one_message(tmp_path):
    outcome = run(tmp_path, "--compile", fault=fail)
    assert outcome.status == 1
    assert "error: --compile: " in outcome.err and "leave --compile out" in outcome.err
    assert "Traceback" not in outcome.err and "no compiler" in outcome.err


@needs_gpu
@pytest.mark.parametrize("method", METHODS)
def test_a_recorded_step_trains_like_the_plain_one(method):
    gpu = torch.device("cuda")
    plain, _ = train(method, gpu)
    recorded, taken = train(method, gpu, compile_size=FULL)
    assert taken._recording is not None
    assert_same(recorded, plain)


@needs_gpu
def test_a_step_that_reads_on_the_host_goes_on_without_a_recording(capsys):
    def reads(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        losses = cross_entropy_step(network, batch)
        return losses if losses["loss"].item() >= 0 else {}

    gpu = torch.device("cuda")
    recipe = recipe_of("ce")
    plain, _ = train("ce", gpu)
    object.__setattr__(recipe, "steps", (reads,))
    found, taken = train("ce", gpu, recipe, compile_size=FULL)
    assert taken._recording is None
    assert_same(found, plain)
    assert capsys.readouterr().err.count("can not be recorded as a CUDA graph") == 1


@needs_gpu
@pytest.mark.parametrize("augmentation", ["two views", "padded crop"])
def test_batches_on_a_gpu_are_those_on_the_cpu(augmentation):
    common = dict(hflip=True, mean=(0.5,) * 3, std=(0.25,) * 3)
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    image_set = TensorImages("noise", images, torch.arange(20))
    made = TwoViews(32, crop_scale=(0.2, 1.0), **common) if augmentation == "two views" else PaddedCrop(32, **common)
    for compiled in (False, True):
        ours = TrainBatches(image_set, made, batch_size=8, seed=0, device="cuda", compiled=compiled).epoch(1)
        theirs = TrainBatches(image_set, made, batch_size=8, seed=0, device="cpu").epoch(1)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one.images.cpu(), other.images, atol=2e-4, rtol=0)


@needs_gpu
def test_a_resumed_run_on_a_gpu_is_the_uninterrupted_one(tmp_path):
    """With --deterministic, in the middle of an epoch, to the last bit."""
    options = ("--device", "cuda", "--compile", "--deterministic", "--amp", "bf16", "--limit-train", "140")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(whole, *options).status == 0
    assert run(broken, *options, fault=functools.partial(signal_after_lines, 15, 5)).status == 128 + 15
    assert run(broken, *options).status == 0
    assert differences(trained(broken), trained(whole)) == []

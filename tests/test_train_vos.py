"""train_vos.py: one step against its definition, resume, two processes against one, and the answers to mistakes."""

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from test_vos_network import official_wrn
from torch import nn

import train_vos
from models.vos import VOSNet
from tests.process_group import EvalMode, assert_equal_tensors, by_one_and_by_two, keep, share
from tests.training_runs import Fault, Outcome, run_script_in_process, signal_after_lines
from utils import checkpoint
from utils.data.batches import Batch
from utils.data.order import outlier_generator
from utils.outliers import ClassQueues, NoiseOfSteps, place
from utils.training import distributed
from utils.training.monitor import JitterMonitor
from utils.training.recipe import ForwardPass

CLASSES, DIM = 3, 6
# The second epoch is the first with outliers.
NOISE = NoiseOfSteps(CLASSES, DIM, 50, 2, partial(outlier_generator, 5), torch.device("cpu"), first_epoch=1)
SMALL = (
    "--device cpu --width 8 --limit-train 60 --epochs 4 --batch-size 16 --start_epoch 2 --sample_number 5 "
    "--select 2 --eval-freq 0 --print-freq 2 --save-every 1 --name run"
).split()


class EvalModeNet(EvalMode, VOSNet):
    pass


def small_model() -> VOSNet:
    torch.manual_seed(0)
    return EvalModeNet("resnet18", CLASSES, feat_dim=DIM, width=8).double().train()


def batches() -> list[Batch]:
    """Two epochs of two batches, the second of which can not be halved."""
    draw = torch.Generator().manual_seed(1)
    return [
        Batch(
            torch.randn(n, 3, 8, 8, generator=draw).double(),
            torch.arange(n) % CLASSES,
            n,
            epoch,
            index,
            NOISE.of(epoch, index),
        )
        for epoch in (0, 1)
        for index, n in enumerate((8, 7))
    ]


def make_step(model: VOSNet, queues: ClassQueues):
    network = distributed.wrap(ForwardPass(model, "outputs", model.uncertainty_parameters()), sync_bn=False)
    return partial(train_vos.vos_step(model, queues, loss_weight=0.1), network)


# ---- the step


def test_a_step_is_the_paper_s_loss() -> None:
    model, queues = small_model(), ClassQueues([9] * CLASSES, DIM).double()
    step = make_step(model, queues)
    first, _, third, _ = batches()
    losses = step(first)
    losses["loss"].backward()
    assert losses["loss/uncertainty"] == 0
    assert all(parameter.grad is None for parameter in model.uncertainty_parameters())
    torch.testing.assert_close(losses["loss"], nn.functional.cross_entropy(model(first.images), first.labels))

    losses = step(third)
    losses["loss"].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.uncertainty_parameters())
    with torch.no_grad():
        means, covariance = queues.statistics()
        outliers = place(means, torch.linalg.cholesky(covariance), third.noise).flatten(0, 1)
        cross_entropies = []
        for logits, label in ((model(third.images), 1), (model.fc(outliers), 0)):
            for row in logits:
                score = sum(max(float(w), 0) * float(f.exp()) for w, f in zip(model.energy, row, strict=True))
                cross_entropies.append(-model.logistic(torch.tensor([score]).double().log()).log_softmax(0)[label])
        expected = torch.stack(cross_entropies).mean()
    assert len(cross_entropies) == 8 + 2 * CLASSES
    torch.testing.assert_close(losses["loss/uncertainty"], expected)
    torch.testing.assert_close(losses["loss"], losses["loss/ce"] + 0.1 * losses["loss/uncertainty"])


def four_steps(path: Path) -> None:
    model, queues = small_model(), ClassQueues([9, 4, 2], DIM).double()
    step = make_step(model, queues)
    groups = [model.uncertainty_parameters(), [*model.encoder.parameters(), *model.bottleneck.parameters()]]
    optimizer = torch.optim.SGD([*groups[0], *groups[1], *model.fc.parameters()], 0.1, 0.9)
    for batch in batches():
        own = share(batch.size)
        mine = replace(batch, images=batch.images[own], labels=batch.labels[own])
        loss = step(mine)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    keep({**model.state_dict(), **queues.state_dict(), "loss": loss.detach()}, path)


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    found = by_one_and_by_two(four_steps, tmp_path)
    assert found[0]["energy"].dtype == torch.float64
    assert_equal_tensors(*found)


# ---- whole runs


def run(checkpoints: Path, *options: str, fault: Fault | None = None) -> Outcome:
    return run_script_in_process(train_vos.main, checkpoints, SMALL, options, fault)


def test_an_interrupted_run_goes_on_to_the_same_weights_and_queues(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    assert whole.status == 0, whole.err
    assert "Virtual outliers from epoch 3 of 4 on" in whole.out
    assert "note: " not in whole.err  # ten images a class, queues of five
    after_a_step_with_outliers = partial(signal_after_lines, signal.SIGKILL, 6)
    assert run(tmp_path / "killed", fault=after_a_step_with_outliers).status == -signal.SIGKILL
    again = run(tmp_path / "killed")
    assert again.status == 0, again.err
    states = [checkpoint.load(tmp_path / name / "digits" / "run" / "last.pt") for name in ("whole", "killed")]
    for module, tensors in states[0]["modules"].items():
        assert all(torch.equal(value, states[1]["modules"][module][name]) for name, value in tensors.items())
    assert states[0]["modules"]["queues"]["filled"].tolist() == [5] * 6

    found = checkpoint.load_checkpoint(tmp_path / "whole" / "digits" / "run" / "checkpoint_4.pth.tar")
    assert (found.method.name, found.epoch, type(found.model)) == ("vos", 4, VOSNet)
    saved = states[0]["modules"]["model"]
    assert torch.equal(found.model.energy, saved["energy"])
    assert torch.equal(found.model.logistic.weight, saved["logistic.weight"])


def test_small_classes_are_said_and_the_baseline_has_no_untrained_numbers(tmp_path: Path) -> None:
    options = ("--epochs", "2", "--start_epoch", "1")
    few = run(tmp_path / "vos", *options, "--sample_number", "100", "--limit-train", "30")
    assert few.status == 0, few.err
    assert "6 of 6 classes have fewer than --sample_number 100" in few.err and "the smallest 5" in few.err

    baseline = run(tmp_path / "ce", *options, "--loss-weight", "0")
    assert baseline.status == 0 and "Virtual outliers" not in baseline.out, baseline.err
    found = checkpoint.load_checkpoint(tmp_path / "ce" / "digits" / "run" / "checkpoint_2.pth.tar")
    assert found.method.name == "ce" and found.model.energy is None


def test_a_single_image_at_the_end_of_an_epoch_does_not_end_the_run(tmp_path: Path) -> None:
    # The bottleneck begins with a batch norm, which has no statistics of one image.
    single = run(tmp_path, "--feat_dim", "6", "--batch-size", "59", "--epochs", "2", "--start_epoch", "1")
    assert single.status == 0, single.err
    assert "epoch 1/2  batch 1/1" in single.out


def test_what_no_outlier_has_trained_yet_gives_no_score(tmp_path: Path, run_eval) -> None:
    options = ("--epochs", "2", "--start_epoch", "1", "--save-epoch", "1")
    assert run(tmp_path, *options).status == 0
    early, late = (tmp_path / "digits" / "run" / f"checkpoint_{epoch}.pth.tar" for epoch in (1, 2))
    assert checkpoint.load_checkpoint(early).model.energy is None
    assert checkpoint.load_checkpoint(late).model.energy is not None
    short = ("--ood-sets", "uniform-noise", "--no-plots", "--out", tmp_path / "out")
    for score in ("logistic", "sigmoid-energy"):
        status, _, error = run_eval("--ckpt", early, "--score", score, *short)
        assert status == 1 and "saved before the first virtual outlier" in error
    assert run_eval("--ckpt", early, "--score", "energy", *short)[0] == 0
    assert run_eval("--ckpt", late, "--score", "logistic", *short)[0] == 0


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_files_are_recognised(tmp_path: Path, prefix: str) -> None:
    weights = official_wrn()
    torch.save({prefix + name: value for name, value in weights.items()}, tmp_path / "epoch_99.pt")
    found = checkpoint.load_checkpoint(tmp_path / "epoch_99.pt")
    assert found.method.name == "vos" and found.model.config["arch"] == "wrn-40-2"
    assert torch.equal(found.model.fc.weight, weights["fc.weight"])


def test_a_singular_covariance_is_said_once(capsys: pytest.CaptureFixture) -> None:
    monitor = JitterMonitor()
    for jitter in (0.0, 1e-3, 1e-2):
        assert monitor.describe({"loss": 1.0, "outliers/jitter": jitter}, 7.5) == {
            "loss": 1.0,
            "outliers/jitter": jitter,
        }
    assert capsys.readouterr().err.count("the covariance of the features is singular") == 1


# ---- settings


def test_defaults_are_the_paper_s() -> None:
    args = train_vos.parse_arguments(command_line=["--in-dataset", "CIFAR-10"])
    found = {name: getattr(args, name) for name in (
        "model", "epochs", "batch_size", "learning_rate", "weight_decay", "momentum", "start_epoch", "sample_number",
        "sample_from", "select", "loss_weight", "warmup", "cosine", "feat_dim", "droprate",
    )}  # fmt: skip
    assert found == {
        "model": "wrn-40-2", "epochs": 100, "batch_size": 128, "learning_rate": 0.1, "weight_decay": 5e-4,
        "momentum": 0.9, "start_epoch": 40, "sample_number": 1000, "sample_from": 10_000, "select": 1,
        "loss_weight": 0.1, "warmup": "none", "cosine": True, "feat_dim": 0, "droprate": None,
    }  # fmt: skip
    assert args.name == "vos_wrn-40-2_seed1_trial0"
    baseline = "--in-dataset CIFAR-100 --model densenet-bc-100-12 --loss-weight 0"
    dense = train_vos.parse_arguments(command_line=baseline.split())
    assert dense.weight_decay == 1e-4 and dense.name.startswith("ce_densenet-bc-100-12_")


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--epochs", "10", "--start_epoch", "10"], "leaves none of --epochs 10"),
    (["--epochs", "1"], "--loss_weight 0 trains without any"),
    (["--start_epoch", "0"], "at least 1"),
    (["--feat_dim", "-1"], "at least 0"),
    (["--select", "5", "--sample-from", "4"], "--select 5 of --sample_from 4"),
    (["--model", "wrn-28-10", "--stem", "imagenet"], "not wrn-28-10"),
    (["--model", "vgg16"], "invalid choice"),
])  # fmt: skip
def test_impossible_settings_are_refused_at_once(
    capsys: pytest.CaptureFixture, arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as exit_status:
        train_vos.parse_arguments(command_line=arguments)
    assert exit_status.value.code == 2 and reason in capsys.readouterr().err

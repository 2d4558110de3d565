"""train_mcd.py: steps A and B against their definition, resume in both stages, the chosen epoch, wrong settings."""

import json
import shutil
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import train_mcd
from models.mcd import MCDNet
from tests.process_group import EvalMode, assert_equal_tensors, by_one_and_by_two, keep, share
from tests.training_runs import Fault, differences, left_in, limit_file_size, run_script_in_process, signal_after_lines
from utils import checkpoint
from utils.cli import mcd as mcd_options
from utils.data.batches import Batch
from utils.data.id_sets import load_id
from utils.data.splits import load_split, split_set
from utils.evaluation.collapse import ways_out
from utils.training import distributed
from utils.training.mix_monitor import BestWeights
from utils.training.recipe import ForwardPass

CLASSES = 3
MARGIN = 2.0  # out of reach, so that the hinge is open
SMALL = (
    "--device cpu --width 8 --limit-train 60 --epochs 4 --batch-size 16 --eval-freq 0 --print-freq 2 --save-every 1"
).split()
PRETRAINING = ("--pretrain-epochs", "3", "--pretrain-batch-size", "16")
PRETRAINED = "mcd-pretrain_resnet18_batch-size-16_epochs-3_limit-train-60_width-8_seed4_trial0"


class EvalModeNet(EvalMode, MCDNet):
    pass


def small_model() -> MCDNet:
    torch.manual_seed(0)
    return EvalModeNet("resnet18", CLASSES, width=8).double().train()


def batches() -> list[Batch]:
    """Batches with other numbers of labelled than of unlabelled images, some of which can not be halved."""
    draw = torch.Generator().manual_seed(1)
    return [
        Batch(torch.randn(n, 3, 8, 8, generator=draw).double(), torch.arange(n) % CLASSES, n, 0, index, None,
              torch.randn(m, 3, 8, 8, generator=draw).double(), m)
        for index, (n, m) in enumerate(((8, 5), (7, 6)))
    ]  # fmt: skip


def make_steps(model: MCDNet):
    network = distributed.wrap(ForwardPass(model, "passes"), sync_bn=False)
    return [partial(step, network) for step in (train_mcd.step_a, train_mcd.step_b(MARGIN))]


# ---- the steps


def gradients(model: MCDNet) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -sum(row.log_softmax(0)[label] for row, label in zip(logits, labels, strict=True)) / len(labels)


def entropy(row: Tensor) -> Tensor:
    return -sum(p * p.log() for p in row.softmax(0))


def test_steps_a_and_b_are_the_author_s() -> None:
    batch, model = batches()[0], small_model()
    step_a, step_b = make_steps(model)
    a = step_a(batch)
    a["loss"].backward()
    found = gradients(model)
    model.zero_grad()
    features = model.features(batch.images)
    first = mean_cross_entropy(model.head1(features), batch.labels)
    second = mean_cross_entropy(model.head2(features.detach()), batch.labels)
    (first + second).backward()
    torch.testing.assert_close(a["loss"], first + second)
    torch.testing.assert_close(found, gradients(model))

    with torch.no_grad():  # step B is made with the weights that step A leaves
        for parameter in model.parameters():
            parameter += 0.01
    model.zero_grad()
    b = step_b(batch)
    b["loss"].backward()
    found = gradients(model)
    model.zero_grad()
    features, others = model.features(batch.images), model.features(batch.unlabelled)
    expected = sum(mean_cross_entropy(head(features), batch.labels) for head in (model.head1, model.head2))
    gaps = [entropy(p) - entropy(q) for p, q in zip(model.head1(others), model.head2(others), strict=True)]
    discrepancy = (MARGIN - sum(gaps) / 5).clamp(min=0)
    (expected + discrepancy).backward()
    assert 1 < discrepancy < 3
    torch.testing.assert_close(b["loss"], expected + discrepancy)
    torch.testing.assert_close(found, gradients(model))
    # The log takes means over both steps; its entries are means over the batches.
    for name, value in (("loss/a", a["loss"]), ("loss/b", expected), ("loss/discrepancy", discrepancy)):
        torch.testing.assert_close((a[name] + b[name]) / 2, value)


def test_labelled_and_unlabelled_images_do_not_share_a_batch_norm() -> None:
    torch.manual_seed(0)
    model, batch = MCDNet("resnet18", CLASSES, width=8).double().train(), batches()[0]
    together = model.passes(batch.images, batch.unlabelled)
    apart = [*model(batch.images), *model(batch.unlabelled)]
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other)


def two_batches(path: Path) -> None:
    model = small_model()
    steps = make_steps(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    for batch in batches():
        own, others = share(batch.size), share(batch.unlabelled_size)
        mine = replace(batch, images=batch.images[own], labels=batch.labels[own], unlabelled=batch.unlabelled[others])
        for step in steps:
            losses = step(mine)
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            optimizer.step()
    keep({**model.state_dict(), "loss": losses["loss"].detach()}, path)


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    assert_equal_tensors(*by_one_and_by_two(two_batches, tmp_path))


def test_best_weights_are_those_of_the_first_highest_figure() -> None:
    model = small_model()
    best = BestWeights(model)
    for epoch, figure in enumerate((0.5, 0.9, 0.9, 0.7), start=1):
        with torch.no_grad():
            model.head1.bias.fill_(epoch)
        best.offer(model, figure, epoch)
    assert (int(best.epoch), float(best.figure), best.network.head1.bias.tolist()) == (2, 0.9, [2.0] * 3)
    assert not any(parameter.requires_grad for parameter in best.parameters())
    again = BestWeights(small_model())
    again.load_state_dict(best.state_dict())
    assert int(again.epoch) == 2 and torch.equal(again.network.head1.bias, best.network.head1.bias)


# ---- whole runs


def train_in_process(
    checkpoints: Path,
    *options: str,
    killed_after_lines: int | None = None,
    fault: Fault | None = None,
) -> tuple[int, str]:
    small = SMALL if "--from" in options else (*SMALL, *PRETRAINING)
    fault = fault or (killed_after_lines and partial(signal_after_lines, signal.SIGKILL, killed_after_lines))
    found = run_script_in_process(train_mcd.main, checkpoints, small, options, fault)
    return found.status, found.out + found.err


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Both stages in one command, transductive: the folder of the runs, and what was printed."""
    path = tmp_path_factory.mktemp("whole")
    status, printed = train_in_process(path, "--name", "run")
    assert status == 0, printed
    return path / "digits", printed


def test_both_stages_go_on_where_they_were_killed(whole, tmp_path: Path) -> None:
    # Eight log lines an epoch of four batches: in the second epoch of pre-training, then in the third of fine-tuning.
    assert train_in_process(tmp_path, "--name", "run", killed_after_lines=3)[0] == -signal.SIGKILL
    assert not (tmp_path / "digits" / "run").exists()
    assert train_in_process(tmp_path, "--name", "run", killed_after_lines=3 + 5)[0] == -signal.SIGKILL
    assert (tmp_path / "digits" / "run" / "last.pt").exists()
    status, printed = train_in_process(tmp_path, "--name", "run")
    assert status == 0 and "epoch 1/" not in printed, printed
    for name, epochs in ((PRETRAINED, 3), ("run", 4)):
        assert differences(left_in(tmp_path / "digits" / name, epochs), left_in(whole[0] / name, epochs)) == []


def test_finished_stages_whose_states_are_gone_are_left_alone(whole, tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "digits", ignore=shutil.ignore_patterns("last.pt", "previous.pt"))
    status, printed = train_in_process(tmp_path, "--name", "run")
    assert status == 0 and "Finished: " in printed and "epoch 1/" not in printed, printed
    assert not (tmp_path / "digits" / "run" / "last.pt").exists()


def test_a_batch_that_is_too_small_names_the_option_of_its_stage(whole, tmp_path: Path) -> None:
    trained = str(whole[0] / PRETRAINED / "checkpoint_3.pth.tar")
    for flag, more in (("--pretrain-batch-size", ()), ("--batch-size", ("--stage", "finetune", "--from", trained))):
        status, printed = train_in_process(tmp_path, *more, flag, "1")
        assert status == 1 and f"pass {flag} 2" in printed


def test_a_signal_in_the_last_batch_of_the_pretraining_ends_the_command(whole, tmp_path: Path) -> None:
    status, _ = train_in_process(tmp_path, "--name", "run", fault=partial(signal_after_lines, signal.SIGTERM, 6))
    assert status == 128 + signal.SIGTERM
    assert not (tmp_path / "digits" / "run").exists()
    assert differences(left_in(tmp_path / "digits" / PRETRAINED, 3), left_in(whole[0] / PRETRAINED, 3)) == []


def test_a_transductive_run_keeps_the_epoch_that_the_labels_choose(whole) -> None:
    folder, printed = whole
    assert "Unlabelled mix, transductive: 164 of digits test, 664 of digits-6-9; the very images" in printed
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    aurocs = [line["choice/auroc"] for line in lines if "choice/auroc" in line]
    chosen = 1 + aurocs.index(max(aurocs))
    found = checkpoint.load_checkpoint(folder / "run" / "checkpoint_4.pth.tar")
    assert (found.method.name, found.epoch, found.unlabelled["mode"]) == ("mcd", 4, "transductive")
    assert found.unlabelled["ood"] == ["digits-6-9"]
    assert found.unlabelled["choice"].startswith(f"epoch {chosen} of 4, by the AUROC on 50 ID and 50 OOD images")
    state = checkpoint.load(folder / "run" / "last.pt")["modules"]
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, state["best"][f"network.{name}"])
    # The AUROC of the chosen weights on the choice images is the one that was logged.
    data = load_id("digits")
    rows = list(split_set(214, "transductive", choice=50, seed=0).choice)
    split = load_split(folder / "run" / "split.json")
    assert list(split.id.choice) == rows and split.id.fingerprint == data.test.fingerprint
    assert found.unlabelled["split"]["id"]["choice"] == rows
    assert not {"start_weights", "split_lists"} & found.args.keys()


def test_pretraining_is_shared_and_an_inductive_run_takes_the_last_epoch(whole, tmp_path: Path) -> None:
    checkpoints = whole[0].parent
    before = (whole[0] / PRETRAINED / "checkpoint_3.pth.tar").stat().st_mtime_ns
    status, printed = train_in_process(checkpoints, "--unlabelled", "inductive")
    assert status == 0, printed
    assert "epoch 1/3" not in printed and "82 of digits test, 332 of digits-6-9; none of which is scored" in printed
    assert (whole[0] / PRETRAINED / "checkpoint_3.pth.tar").stat().st_mtime_ns == before
    (folder,) = whole[0].glob("mcd-inductive_*")
    found = checkpoint.load_checkpoint(folder / "checkpoint_4.pth.tar")
    assert found.unlabelled["choice"] == "the last epoch; no OOD label was used"
    state = checkpoint.load(folder / "last.pt")["modules"]
    assert state.keys() == {"model"}
    assert all(torch.equal(value, state["model"][name]) for name, value in found.model.state_dict().items())
    assert "choice/auroc" not in (folder / "log.jsonl").read_text()
    mine, theirs = (load_split(each / "split.json") for each in (folder, whole[0] / "run"))
    assert set(mine.ood["digits-6-9"].scored) < set(theirs.ood["digits-6-9"].scored)


def test_a_stage_runs_alone_and_says_what_is_missing(whole, tmp_path: Path) -> None:
    status, printed = train_in_process(tmp_path, "--stage", "finetune")
    assert status == 1 and "no finished pre-training" in printed and PRETRAINED in printed and "--stage both" in printed
    start = whole[0] / PRETRAINED / "checkpoint_3.pth.tar"
    options = ["--stage", "finetune", "--from"]
    status, printed = train_in_process(tmp_path, *options, str(start), "--name", "other")
    assert status == 0, printed
    one, other = (checkpoint.load(path / "last.pt")["modules"]["model"]
                  for path in (whole[0] / "run", tmp_path / "digits" / "other"))  # fmt: skip
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    tuned = whole[0] / "run" / "checkpoint_4.pth.tar"
    status, printed = train_in_process(tmp_path, *options, str(tuned), "--name", "again")
    assert status == 1 and "is not a checkpoint of train_mcd.py's pre-training (it says mcd)" in printed
    status, printed = train_in_process(tmp_path, *options, str(start), "--name", "again", "--width", "16")
    assert status == 1 and "is another network than this run's" in printed
    full_disk = partial(limit_file_size, 2000)
    status, printed = train_in_process(tmp_path, *options, str(start), "--name", "full", fault=full_disk)
    assert status == 1 and "full can not be written: File too large" in printed and "Traceback" not in printed


def test_what_is_advised_for_a_pretraining_are_its_own_options(tmp_path: Path) -> None:
    status, printed = train_in_process(tmp_path, "--pretrain-learning_rate", "1e30", "--stage", "pretrain")
    assert status == 1 and "go on with : a smaller --pretrain-learning_rate, from the start" in printed, printed
    advised = ways_out({"stage": "pretrain", "batch_size": 64, "learning_rate": 0.1, "epochs": 3})
    assert advised[1:] == ["--pretrain-batch-size 32 --pretrain-learning_rate 0.05", "more --pretrain-epochs than 3"]


def test_a_missing_ood_set_is_said_before_the_pretraining(tmp_path: Path) -> None:
    status, printed = train_in_process(tmp_path, "--ood", f"none={tmp_path}/none")
    assert status == 1 and f"{tmp_path}/none" in printed
    assert not (tmp_path / "digits").exists()


def test_other_unlabelled_images_are_another_run(whole) -> None:
    status, printed = train_in_process(whole[0].parent, "--name", "run", "--split-seed", "1")
    assert status == 1 and "--split-seed: 0 in the saved state, 1 now" in printed and "--split-lists" in printed
    status, printed = train_in_process(whole[0].parent, "--name", "run")
    assert status == 0 and "Finished" in printed and "epoch" not in printed.replace("epochs", "")


def test_fewer_unlabelled_images_than_a_batch_are_said(whole) -> None:
    options = ("--unlabelled", "inductive", "--choice", "210", "--batch-size", "512", "--epochs", "1")
    status, printed = train_in_process(whole[0].parent, *options)
    assert status == 0 and "the unlabelled mix has 254 images, fewer than a batch" in printed, printed


# ---- settings


def parsed(*arguments: str):
    return mcd_options.parse_arguments(command_line=arguments)


def test_defaults_are_the_paper_s() -> None:
    args, first = parsed("--in-dataset", "CIFAR-10")
    shared = ("epochs", "batch_size", "learning_rate", "weight_decay", "momentum", "cosine", "warmup")
    assert [getattr(args, name) for name in shared] == [10, 128, 0.01, 1e-4, 0.9, False, "none"]
    assert [getattr(first, name) for name in shared] == [300, 64, 0.1, 5e-4, 0.9, False, "none"]
    assert (args.model, args.margin, args.unlabelled, args.choice) == ("densenet-bc-100-12", 1.2, "transductive", None)
    assert args.lr_decay_epochs == () and first.lr_decay_epochs == (150, 225)
    assert args.name == "mcd-transductive_densenet-bc-100-12_seed1_trial0"
    assert first.name == "mcd-pretrain_densenet-bc-100-12_seed1_trial0"


def test_names_and_commands_are_functions_of_a_stage_s_own_arguments() -> None:
    usual = parsed()
    tuned = parsed("--unlabelled", "inductive", "--epochs", "5", "--ood", "photographs", "digits-6-9")
    assert tuned[1].name == usual[1].name and tuned[1].command == usual[1].command
    assert tuned[0].name == "mcd-inductive_resnet18_epochs-5_ood-photographs,digits-6-9_seed4_trial0"
    assert tuned[0].command == (
        "python train_mcd.py --in-dataset digits --unlabelled inductive --ood photographs digits-6-9 --epochs 5"
    )
    trained = parsed("--pretrain-epochs", "7", "--width", "8", "--resume", "none")
    assert trained[1].name == "mcd-pretrain_resnet18_epochs-7_width-8_seed4_trial0"
    assert (
        trained[1].command == "python train_mcd.py --in-dataset digits --stage pretrain --pretrain-epochs 7 --width 8"
    )
    assert (trained[0].resume, trained[1].resume) == ("none", "auto")  # others may rest on the pre-training
    assert parsed("--stage", "pretrain", "--resume", "none")[1].resume == "none"


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--from", "x"], "add --stage finetune"),
    (["--from", "x", "--stage", "finetune", "--pretrain-epochs", "3"], "--pretrain-epochs has no function with --from"),
    (["--name", "x", "--stage", "pretrain"], "--name is that of the fine-tuning"),
    (["--in-dataset", "folder", "--id-loc", "x"], "needs --ood SET"),
    (["--choice", "49"], "--choice 49 images are too few"),
    (["--unlabelled", "both"], "invalid choice"),
    (["--margin", "-1"], "at least 0"),
    (["--train-layers", "layer4"], "MCD trains the whole encoder"),
    (["--model", "wrn-28-10", "--stem", "imagenet"], "not wrn-28-10"),
])  # fmt: skip
def test_impossible_settings_are_refused_at_once(
    capsys: pytest.CaptureFixture, arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as exit_status:
        parsed(*arguments)
    assert exit_status.value.code == 2 and reason in capsys.readouterr().err


def test_it_says_that_it_is_not_monte_carlo_dropout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_mcd.py", "--help"])
    with pytest.raises(SystemExit):
        train_mcd.main()
    assert "not Monte-Carlo dropout" in " ".join(capsys.readouterr().out.split())

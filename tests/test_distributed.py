"""Two processes (gloo, CPU) against one on the same global batches, and what torchrun does when one of them dies."""

import json
import os
import subprocess
import sys
from collections import namedtuple
from functools import partial

import pytest
import torch
from torch import nn

from models.cider import CIDERNet
from tests.process_group import EvalMode, by_one_and_by_two, keep, run_group, share
from tests.training_runs import SCRIPT, SMALL, folder, run, trained
from train_cider import cider_step, palm_step, supcon_step
from utils import checkpoint
from utils.data.augment import Plain
from utils.data.id_sets import load_id
from utils.errors import UserError
from utils.prototypes import EMAPrototypes, LearnablePrototypes
from utils.prototypes.mixture import MixturePrototypes
from utils.training import distributed
from utils.training.recipe import Recipe, cross_entropy_step
from utils.training.run import Run
from utils.training.settings import RunSettings

Batch = namedtuple("Batch", "images labels size")
CLASSES, DIM = 6, 6
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
GLOBAL_BATCHES = (6, 5, 3)  # the last two can not be halved


class EvalModeNet(EvalMode, CIDERNet):
    pass


EvalModeNet.__name__ = "CIDERNet"  # what methods and checkpoints know


class Shares:
    """Random images in float64, of which each process gets its share: view 1 of its images first, then view 2."""

    def __init__(self, views):
        draw = torch.Generator().manual_seed(1)
        self.batches = [
            (torch.randn(views, n, 3, 8, 8, generator=draw).double(), torch.randint(CLASSES, (n,), generator=draw))
            for n in GLOBAL_BATCHES
        ]

    def __len__(self):
        return len(self.batches)

    def epoch(self, epoch, start):
        for images, labels in self.batches[start:]:
            own = share(len(labels))
            yield Batch(images[:, own].flatten(0, 1), labels[own], len(labels))


def three_steps(kind, path):
    """Three SGD steps of a run; the losses of each step, parameters and prototypes of each process are saved."""
    torch.manual_seed(0)
    model = EvalModeNet(width=8, feat_dim=DIM, num_classes=CLASSES).double()
    (model.head if kind == "ce" else model.fc).requires_grad_(False)
    prototypes = LearnablePrototypes(CLASSES, DIM) if kind == "learnable" else EMAPrototypes(CLASSES, DIM, 0.5)
    prototypes.double()
    mixture = MixturePrototypes(CLASSES, 3, DIM, 0.5, nearest=2).double()
    step = {
        "ce": cross_entropy_step,
        "supcon": supcon_step(0.1),
        "palm": palm_step(mixture, w=1.0, temperature=0.1),
    }.get(kind, cider_step(prototypes, w=2.0, temperature=0.1))
    losses = []

    def noting(network, batch):
        found = step(network, batch)
        losses.append({name: value.item() for name, value in found.items()})
        return found

    recipe = Recipe(
        model=model,
        steps=(noting,),
        forward="logits" if kind == "ce" else "forward",
        augmentation=Plain((0.5,) * 3, (0.5,) * 3),
        prototypes=prototypes,
        others={"mixture": mixture},
    )
    settings = RunSettings(
        seed=0, epochs=1, batch_size=6, learning_rate=0.5, warmup="reference", warmup_epochs=9, print_freq=1
    )
    method = "cider" if kind == "learnable" else kind
    folder = path / f"folder{distributed.world_size()}"
    run = Run(folder, settings, torch.device("cpu"), method=method, data=load_id("digits"), record={}, key={})
    run.train(recipe, Shares(1 if kind == "ce" else 2))
    state = {
        f"{key}/{name}": value for key, module in recipe.modules.items() for name, value in module.state_dict().items()
    }
    keep({"losses": losses, **state}, path)


@pytest.mark.parametrize("kind", ["cider", "learnable", "supcon", "palm", "ce"])
def test_two_processes_do_what_one_does(tmp_path, kind):
    one, first, second = by_one_and_by_two(partial(three_steps, kind), tmp_path)
    fresh = EvalModeNet(width=8, feat_dim=DIM, num_classes=CLASSES)
    assert len(one["losses"]) == 3 and one.keys() == first.keys() == second.keys()
    largest = 0.0
    for name in one.keys() - {"losses"}:
        assert torch.equal(first[name], second[name]), name
        largest = max(largest, (first[name] - one[name]).abs().max().item())
    for ours, theirs in ((first, one), (second, first)):
        for mine, other in zip(ours["losses"], theirs["losses"], strict=True):
            assert mine.keys() == other.keys()
            largest = max(largest, *(abs(mine[name] - other[name]) for name in mine))
    print(f"{kind}: largest difference {largest:.1e}")
    assert largest < 1e-10
    moved = one["model/encoder.conv1.weight"] - fresh.double().state_dict()["encoder.conv1.weight"]
    assert moved.abs().max() > 1e-4
    # The log is written by one process.
    for name in ("folder1", "folder2"):
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def gather_small(path):
    rank = distributed.rank()
    rows = torch.arange(10.0).reshape(5, 2)  # of a global batch of 5 images, two here and three there
    mine = slice(0, 2) if rank == 0 else slice(2, 5)
    local = torch.cat([rows[mine], -rows[mine]]).requires_grad_()
    gathered = distributed.gather_rows(local, 5, views=2)
    assert torch.equal(gathered, torch.cat([rows, -rows]))
    labels = distributed.gather_rows(torch.arange(5)[mine], 5)
    assert torch.equal(labels, torch.arange(5))
    weights = torch.arange(20.0).reshape(10, 2)
    (gathered * weights).sum().backward()
    # Twice the gradient of the own rows, of which DistributedDataParallel takes the mean over two processes.
    assert torch.equal(local.grad, 2 * torch.cat([weights[:5][mine], weights[5:][mine]]))


def agree(path):
    rank = distributed.rank()
    assert distributed.largest([7, 3][rank], torch.device("cpu")) == 7
    assert distributed.from_main(lambda: {"rank": rank, "x": torch.ones(2)})["rank"] == 0
    assert distributed.is_main() == (rank == 0)
    with pytest.raises(UserError if rank == 0 else SystemExit):  # one message
        distributed.check_sync_bn(torch.device("cpu"), True)

    def refuse():
        raise UserError("not there")

    with pytest.raises(UserError if rank == 0 else SystemExit):
        distributed.from_main(refuse)


@pytest.mark.parametrize("task", [gather_small, agree])
def test_collectives(tmp_path, task):
    assert run_group(tmp_path, partial(task, tmp_path)) == [0, 0]


def test_one_process_needs_no_group():
    rows = torch.randn(4, 2)
    assert distributed.gather_rows(rows, 2, views=2) is rows
    assert distributed.from_main(lambda: 5) == 5 and distributed.largest(3, torch.device("cpu")) == 3
    layer = nn.Linear(2, 2)
    assert distributed.wrap(layer, sync_bn=True) is layer
    with pytest.raises(UserError, match="--sync-bn works on GPUs only"):
        distributed.check_sync_bn(torch.device("cpu"), True)
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="SyncBatchNorm needs two GPUs")
def test_sync_bn_gives_the_statistics_of_the_global_batch(tmp_path):
    script = tmp_path / "sync_bn.py"
    script.write_text(
        "import torch\n"
        "from torch import nn\n"
        "from utils.training import distributed\n"
        "device = distributed.start(torch.device('cuda'))\n"
        "layer = distributed.wrap(nn.BatchNorm1d(3).to(device), sync_bn=True)\n"
        "rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))\n"
        "layer(rows.chunk(2)[distributed.rank()].to(device))\n"
        "assert torch.allclose(layer.module.running_mean.cpu(), 0.1 * rows.mean(0), atol=1e-6)\n"
        "distributed.stop()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    subprocess.run([*TORCHRUN, str(script)], env=environment, check=True)


def test_a_dead_process_ends_all_and_another_number_goes_on(tmp_path):
    # The second process kills itself in the third epoch.
    dying = tmp_path / "dying.py"
    dying.write_text(
        "import os, runpy, signal, sys\n"
        "from utils.training.loop import Training\n"
        "run_batch = Training._run_batch\n"
        "def running(self, batch):\n"
        "    if os.environ['RANK'] == '1' and self.epoch == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    run_batch(self, batch)\n"
        "Training._run_batch = running\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [*TORCHRUN, str(dying), str(SCRIPT), *SMALL, "--checkpoints", str(tmp_path), "--print-freq", "1"]
    died = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert died.returncode != 0
    lines = [line for line in died.stdout.splitlines() if line.startswith("epoch")]
    assert len(lines) == len(set(lines)) == 8, died.stderr  # each once: one process prints
    state = checkpoint.load(folder(tmp_path) / "last.pt", checksum_required=True)
    assert (state["epoch"], state["batch"]) == (2, 0)

    alone = run(tmp_path, "--print-freq", "1")
    assert alone.status == 0, alone.err
    assert "resumed at epoch 3, batch 1\nepoch 3/4  batch 1/4" in alone.out
    assert [entry for name, entry in trained(tmp_path).items() if name.endswith("/step")] == [*range(1, 17)]

"""VOS's outlier synthesis, against drawing and ranking all samples, and a whole step with and without it.

The row beside pytorch-ood is left out where that package is missing.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from benchmarks.rows import make_row
from benchmarks.timing import interleaved_medians, one_thread
from models.encoders import build_encoder
from utils.data.order import outlier_generator
from utils.losses import log_weighted_sum_exp, uncertainty_loss
from utils.outliers import ClassQueues, NoiseOfSteps, cholesky_with_jitter, least_likely_gaussian_samples, place

CLASSES, DIM, DRAWS, SELECT, QUEUE, BATCH = 10, 128, 10_000, 1, 1000, 128
RUNS = 7


def draw_and_rank(means: Tensor, covariance: Tensor, sample_from: int, select: int) -> Tensor:
    """The definition, class by class: draw, evaluate the density, keep the least likely."""
    kept = []
    for mean in means:
        normal = MultivariateNormal(mean, covariance)
        drawn = normal.sample((sample_from,))
        kept.append(drawn[(-normal.log_prob(drawn)).topk(select).indices])
    return torch.stack(kept)


class Step:
    """Forward and backward pass of one batch: encoder, cross-entropy and, with synthesis, the uncertainty loss."""

    def __init__(self, arch: str, width: int, batch: int, device: torch.device, *, synthesis: bool) -> None:
        torch.manual_seed(0)
        encoder, dim = build_encoder(arch, width=width)
        self.encoder, self.fc, self.logistic = (
            module.to(device) for module in (encoder, nn.Linear(dim, CLASSES), nn.Linear(1, 2))
        )
        self.weight = torch.rand(CLASSES, device=device, requires_grad=True)
        self.images = torch.randn(batch, 3, 32, 32, device=device)
        self.labels = torch.randint(CLASSES, (batch,)).to(device)
        self.synthesis = synthesis
        self.noise = NoiseOfSteps(CLASSES, dim, DRAWS, SELECT, partial(outlier_generator, 0), device)
        self.steps = 0
        self.queues = full_queues(dim, device)

    def __call__(self) -> None:
        features = self.encoder(self.images)
        logits = self.fc(features)
        loss = F.cross_entropy(logits, self.labels)
        if self.synthesis:
            self.queues.update(features.detach(), self.labels)
            means, covariance = self.queues.statistics()
            outliers = place(means, cholesky_with_jitter(covariance)[0], self.noise.of(0, self.steps)).flatten(0, 1)
            self.steps += 1
            scores = [log_weighted_sum_exp(f, self.weight) for f in (logits, self.fc(outliers))]
            loss = loss + 0.1 * uncertainty_loss(*scores, self.logistic)
        loss.backward()


def full_queues(dim: int, device: torch.device) -> ClassQueues:
    queues = ClassQueues([QUEUE] * CLASSES, dim).to(device)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(QUEUE * CLASSES, dim, generator=generator).relu()
    queues.update(features.to(device), torch.arange(CLASSES, device=device).repeat(QUEUE))
    return queues


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """Rows on one CPU thread. In those of whole steps the baseline is the same step without synthesis."""
    with one_thread():
        if quick:
            return [_synthesis(100, device), _whole_step("resnet18", 8, 4, device)]
        # On a CPU the paper's network takes seconds a step, beside which nothing else would show.
        networks = [("resnet18", 16)] if device.type == "cpu" else [("resnet18", 16), ("wrn-40-2", 64)]
        whole_steps = [_whole_step(arch, width, BATCH, device) for arch, width in networks]
        return [_synthesis(DRAWS, device), *_pytorch_ood(device), *whole_steps]


def _synthesis(draws: int, device: torch.device) -> dict:
    means, covariance = full_queues(DIM, device).statistics()
    times = interleaved_medians(
        [
            lambda: least_likely_gaussian_samples(means, covariance, draws, SELECT),
            lambda: draw_and_rank(means, covariance, draws, SELECT),
        ],
        device,
        runs=RUNS,
    )
    what = f"virtual outliers, {CLASSES} classes, {DIM}-d, {SELECT} of {draws:,} draws"
    faster = 500.0 if device.type == "cpu" else None
    return make_row(what, times[0], "MultivariateNormal per class, log_prob, topk", times[1], times_as_fast=faster)


def _pytorch_ood(device: torch.device) -> list[dict]:
    """Logits, features and labels to the gradients, beside the loss of pytorch-ood with the same settings."""
    try:
        from pytorch_ood.loss import VirtualOutlierSynthesizingRegLoss
    except ImportError:
        return []
    torch.manual_seed(0)
    fc, logistic, energy = (
        layer.to(device) for layer in (nn.Linear(DIM, CLASSES), nn.Linear(1, 2), nn.Linear(CLASSES, 1))
    )
    nn.init.uniform_(energy.weight)
    theirs = VirtualOutlierSynthesizingRegLoss(
        logistic, energy, fc, sample_number=QUEUE, select=SELECT, sample_from=DRAWS
    ).to(device)
    queues = full_queues(DIM, device)
    features = torch.randn(BATCH, DIM).relu().to(device).requires_grad_()
    labels = torch.randint(CLASSES, (BATCH,)).to(device)
    theirs.data_dict.copy_(queues.rows[:-1].view(CLASSES, QUEUE, DIM))
    theirs.number_dict.update(dict.fromkeys(range(CLASSES), QUEUE))

    def ours() -> None:
        logits = fc(features)
        queues.update(features.detach(), labels)
        outliers = least_likely_gaussian_samples(*queues.statistics(), DRAWS, SELECT).flatten(0, 1)
        scores = [log_weighted_sum_exp(f, energy.weight[0]) for f in (logits, fc(outliers))]
        (F.cross_entropy(logits, labels) + 0.1 * uncertainty_loss(*scores, logistic)).backward()

    functions = [ours, lambda: theirs(fc(features), features, labels).backward()]
    ours_ms, theirs_ms = interleaved_medians(functions, device, runs=RUNS)
    what = f"queues, virtual outliers and losses of a step, batch {BATCH}, queues of {QUEUE}"
    return [make_row(what, ours_ms, "pytorch-ood's VirtualOutlierSynthesizingRegLoss", theirs_ms)]


def _whole_step(arch: str, width: int, batch: int, device: torch.device) -> dict:
    steps = [Step(arch, width, batch, device, synthesis=synthesis) for synthesis in (True, False)]
    name = f"{arch} of width {width}" if arch.startswith("resnet") else arch
    what = f"whole step with synthesis, {name}, batch {batch}"
    times = interleaved_medians(steps, device, runs=RUNS)
    return make_row(what, times[0], "the same step without it", times[1], share_of_time=1.05)

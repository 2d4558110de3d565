"""VOS's outlier synthesis, against drawing and ranking all samples.

The row beside pytorch-ood is left out where that package is missing.
"""

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from benchmarks.rows import make_row
from benchmarks.timing import interleaved_medians, one_thread
from utils.losses import log_weighted_sum_exp, uncertainty_loss
from utils.outliers import ClassQueues, least_likely_gaussian_samples

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


def full_queues(dim: int, device: torch.device) -> ClassQueues:
    queues = ClassQueues([QUEUE] * CLASSES, dim).to(device)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(QUEUE * CLASSES, dim, generator=generator).relu()
    queues.update(features.to(device), torch.arange(CLASSES, device=device).repeat(QUEUE))
    return queues


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """Rows on one CPU thread; whole steps are those of bench_step."""
    with one_thread():
        return [_synthesis(100, device)] if quick else [_synthesis(DRAWS, device), *_pytorch_ood(device)]


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

"""Time of VOS's outlier synthesis, against drawing and ranking all samples, and of a whole step with and without it.

Run it with `python -m benchmarks.bench_vos [--device cuda]`; the row with pytorch-ood needs that package.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from models.encoders import build_encoder
from utils.losses import log_weighted_sum_exp, uncertainty_loss
from utils.outliers import ClassQueues, least_likely_gaussian_samples

CLASSES, DIM, DRAWS, SELECT, QUEUE, BATCH = 10, 128, 10_000, 1, 1000, 128
RUNS, WARM_UP = 7, 2


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

    def __init__(self, arch: str, width: int, device: torch.device, *, synthesis: bool) -> None:
        torch.manual_seed(0)
        encoder, dim = build_encoder(arch, width=width)
        self.encoder, self.fc, self.logistic = (
            module.to(device) for module in (encoder, nn.Linear(dim, CLASSES), nn.Linear(1, 2))
        )
        self.weight = torch.rand(CLASSES, device=device, requires_grad=True)
        self.images = torch.randn(BATCH, 3, 32, 32, device=device)
        self.labels = torch.randint(CLASSES, (BATCH,)).to(device)
        self.synthesis = synthesis
        self.queues = full_queues(dim, device)

    def __call__(self) -> None:
        features = self.encoder(self.images)
        logits = self.fc(features)
        loss = F.cross_entropy(logits, self.labels)
        if self.synthesis:
            self.queues.update(features.detach(), self.labels)
            outliers = least_likely_gaussian_samples(*self.queues.statistics(), DRAWS, SELECT).flatten(0, 1)
            scores = [log_weighted_sum_exp(f, self.weight) for f in (logits, self.fc(outliers))]
            loss = loss + 0.1 * uncertainty_loss(*scores, self.logistic)
        loss.backward()


def full_queues(dim: int, device: torch.device) -> ClassQueues:
    queues = ClassQueues([QUEUE] * CLASSES, dim).to(device)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(QUEUE * CLASSES, dim, generator=generator).relu()
    queues.update(features.to(device), torch.arange(CLASSES, device=device).repeat(QUEUE))
    return queues


def measure(device: str | torch.device = "cpu") -> list[dict]:
    """Median milliseconds of warm runs on one thread, ours and the baseline in turn; `ratio`: baseline_ms / ours_ms.

    In the rows of whole steps the baseline is the same step without synthesis, so that their ratio is below 1.
    """
    device = torch.device(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with more, a busy machine measures how long the threads wait for each other
    try:
        rows = [_synthesis(device), *_pytorch_ood(device)]
        # On a CPU the paper's network takes seconds a step, beside which nothing else would show.
        networks = [("resnet18", 16)] if device.type == "cpu" else [("resnet18", 16), ("wrn-40-2", 64)]
        return rows + [_whole_step(arch, width, device) for arch, width in networks]
    finally:
        torch.set_num_threads(threads)


def _synthesis(device: torch.device) -> dict:
    means, covariance = full_queues(DIM, device).statistics()
    times = interleaved_medians(
        [
            lambda: least_likely_gaussian_samples(means, covariance, DRAWS, SELECT),
            lambda: draw_and_rank(means, covariance, DRAWS, SELECT),
        ],
        device,
    )
    what = f"virtual outliers, {CLASSES} classes, {DIM}-d, {SELECT} of {DRAWS} draws"
    return _row(what, "MultivariateNormal per class, log_prob, topk", times, target=500.0 if _is_cpu(device) else None)


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

    times = interleaved_medians([ours, lambda: theirs(fc(features), features, labels).backward()], device)
    what = f"queues, virtual outliers and losses of a step, batch {BATCH}, queues of {QUEUE}"
    return [_row(what, "pytorch-ood's VirtualOutlierSynthesizingRegLoss", times, target=None)]


def _whole_step(arch: str, width: int, device: torch.device) -> dict:
    steps = [Step(arch, width, device, synthesis=synthesis) for synthesis in (True, False)]
    name = f"{arch} of width {width}" if arch.startswith("resnet") else arch
    what = f"whole step with synthesis, {name}, batch {BATCH}"
    return _row(what, "the same step without it", interleaved_medians(steps, device), target=1 / 1.05)


def _row(what: str, baseline: str, times: Sequence[float], *, target: float | None) -> dict:
    ours_ms, baseline_ms = times
    return {
        "what": what,
        "ours_ms": ours_ms,
        "baseline": baseline,
        "baseline_ms": baseline_ms,
        "ratio": baseline_ms / ours_ms,
        "target": target,
    }


def interleaved_medians(functions: Sequence[Callable[[], object]], device: torch.device) -> list[float]:
    """Median milliseconds of each, run in turn so that a busy machine slows them alike."""
    times: list[list[float]] = [[] for _ in functions]
    for run in range(RUNS + WARM_UP):
        for function, measured in zip(functions, times, strict=True):
            _wait(device)
            start = time.perf_counter()
            function()
            _wait(device)
            if run >= WARM_UP:
                measured.append(1000 * (time.perf_counter() - start))
    return [statistics.median(measured) for measured in times]


def _is_cpu(device: torch.device) -> bool:
    return device.type == "cpu"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="where to measure (default: cpu)")
    for row in measure(parser.parse_args().device):
        target = "" if row["target"] is None else f" (target {row['target']:.4g})"
        print(
            f"{row['what']}: {row['ours_ms']:.2f} ms, {row['baseline']}: {row['baseline_ms']:.1f} ms, "
            f"{row['ratio']:.4g} times as fast{target}"
        )


if __name__ == "__main__":
    main()

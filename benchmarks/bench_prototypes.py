"""Time of CIDER's prototype update with both losses, forward and backward, against a loop over the rows in autograd.

Run it with `python -m benchmarks.bench_prototypes [--device cuda]`.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.losses import CompLoss, DisLoss
from utils.prototypes import EMAPrototypes

VIEWS, DIM, MOMENTUM, RUNS = 1024, 128, 0.95, 9
TARGETS = {10: 10.0, 100: 20.0}  # classes -> how many times faster than the loop


def loop_update(prototypes: Tensor, features: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """The definition, one row after the other in the autograd graph: what the official code does."""
    rows = list(prototypes)
    for feature, label in zip(features, labels.tolist(), strict=True):
        rows[label] = F.normalize(momentum * rows[label] + (1 - momentum) * feature, dim=0)
    return torch.stack(rows)


def measure(device: str | torch.device = "cpu") -> list[dict]:
    """Median milliseconds of warm runs, ours and the loop in turn; `ratio` is baseline_ms / ours_ms. One CPU thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with more, a busy machine measures how long the threads wait for each other
    try:
        return [_measure_classes(num_classes, target, torch.device(device)) for num_classes, target in TARGETS.items()]
    finally:
        torch.set_num_threads(threads)


def _measure_classes(num_classes: int, target: float, device: torch.device) -> dict:
    features, labels, prototypes = _batch(num_classes, device)
    ema = EMAPrototypes(num_classes, DIM, MOMENTUM).to(device)

    def ours() -> None:
        ema.prototypes.copy_(prototypes)
        _losses_backward(ema.update(features, labels), features, labels)

    def baseline() -> None:
        _losses_backward(loop_update(prototypes, features, labels, MOMENTUM), features, labels)

    ours_ms, baseline_ms = _interleaved_medians(ours, baseline, device)
    return {
        "what": f"prototype update, CompLoss and DisLoss, {VIEWS} views, {num_classes} classes",
        "ours_ms": ours_ms,
        "baseline": "loop over the rows",
        "baseline_ms": baseline_ms,
        "ratio": baseline_ms / ours_ms,
        "target": target,
    }


def _batch(num_classes: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(VIEWS, DIM, generator=generator), dim=1).to(device).requires_grad_()
    labels = torch.randint(num_classes, (VIEWS // 2,), generator=generator).repeat(2).to(device)
    prototypes = F.normalize(torch.randn(num_classes, DIM, generator=generator), dim=1).to(device)
    return features, labels, prototypes


def _losses_backward(prototypes: Tensor, features: Tensor, labels: Tensor) -> None:
    loss = 2 * CompLoss()(features, prototypes.detach(), labels) + DisLoss()(prototypes)
    torch.autograd.grad(loss, features)


def _interleaved_medians(
    ours: Callable[[], None], baseline: Callable[[], None], device: torch.device
) -> tuple[float, float]:
    times: dict[Callable[[], None], list[float]] = {ours: [], baseline: []}
    for run in range(RUNS + 2):
        for function, measured in times.items():
            _wait(device)
            start = time.perf_counter()
            function()
            _wait(device)
            if run >= 2:  # the first two warm up
                measured.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[ours]), statistics.median(times[baseline])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="where to measure (default: cpu)")
    for row in measure(parser.parse_args().device):
        print(
            f"{row['what']}: {row['ours_ms']:.2f} ms, {row['baseline']}: {row['baseline_ms']:.1f} ms, "
            f"{row['ratio']:.1f} times as fast (target {row['target']:.0f})"
        )


if __name__ == "__main__":
    main()

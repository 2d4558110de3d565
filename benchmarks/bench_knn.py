"""Time and memory of the KNN score against faiss, and of feature extraction against the encoder's own forward pass.

Run it with `python -m benchmarks.bench_knn [--device cuda] [--queries 2000 --bank 10000] [--huge]`. faiss-cpu is in
benchmarks/requirements.txt; it has the same number of threads as torch, whatever the device.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from models.cider import CIDERNet
from utils.data.images import TensorImages
from utils.evaluation.features import extract
from utils.evaluation.scores import knn_score

K, DIM = 100, 512
RUNS = 3
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.244, 0.262)


def measure(
    device: str | torch.device = "cpu", *, queries: int = 10_000, bank: int = 50_000, images: int | None = None
) -> list[dict]:
    """Median milliseconds, ours and the baseline in turn; `ratio` is baseline_ms / ours_ms; peak_mb is ours.

    Args:
        images: for the extraction; by default 10,000 on a GPU and 512 elsewhere.
    """
    device = torch.device(device)
    images = images or (10_000 if device.type == "cuda" else 512)
    return [_measure_knn(device, queries, bank), _measure_extraction(device, images)]


def _measure_knn(device: torch.device, queries: int, bank: int) -> dict:
    import faiss

    generator = torch.Generator().manual_seed(0)
    rows, wanted = (F.normalize(torch.randn(count, DIM, generator=generator), dim=1) for count in (bank, queries))
    on_device = rows.to(device), wanted.to(device)
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatL2(DIM)
    index.add(rows.numpy())
    theirs = torch.from_numpy(index.search(wanted.numpy(), K)[0][:, -1])
    peak_mb, ours = _peak_mb(lambda: knn_score(*on_device, K), device)
    ours_ms, baseline_ms = _interleaved_medians(
        lambda: knn_score(*on_device, K), lambda: index.search(wanted.numpy(), K), device
    )
    return {
        "what": f"KNN score, {queries:,} queries, bank {bank:,} x {DIM}, K = {K}",
        "ours_ms": ours_ms,
        "baseline": f"faiss {faiss.__version__} IndexFlatL2, {torch.get_num_threads()} threads",
        "baseline_ms": baseline_ms,
        "ratio": baseline_ms / ours_ms,
        "target": 2.0,
        "peak_mb": peak_mb,
        "largest_difference": (ours.cpu() + theirs).abs().max().item(),
    }


def _measure_extraction(device: torch.device, count: int) -> dict:
    """ResNet-18 on 32 x 32 pixels; the baseline's batches are normalised and in place before the clock starts."""
    torch.manual_seed(0)
    model = CIDERNet("resnet18").to(device).eval()
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    image_set = TensorImages("random", pixels)
    ready = [batch.float().to(device) / 255 - 0.5 for batch in pixels.split(512)]

    @torch.inference_mode()
    def forward() -> Tensor:
        return [model.penultimate(batch) for batch in ready][-1]

    ours_ms, baseline_ms = _interleaved_medians(
        lambda: extract(model, image_set, mean=MEAN, std=STD, device=device, batch_size=512), forward, device
    )
    return {
        "what": f"feature extraction, ResNet-18, {count:,} images of 32 x 32",
        "ours_ms": ours_ms,
        "baseline": "the encoder on ready batches",
        "baseline_ms": baseline_ms,
        "ratio": baseline_ms / ours_ms,
        "target": 1 / 1.05,
    }


def measure_huge(device: str | torch.device = "cpu", *, queries: int = 64) -> dict:
    """Peak memory beside the data of a search in a float16 bank of 1,281,167 x 2,048: ImageNet through a ResNet-50."""
    device = torch.device(device)
    generator = torch.Generator(device).manual_seed(0)
    bank = torch.empty(1_281_167, 2048, dtype=torch.float16, device=device)
    for rows in bank.split(16384):
        rows.copy_(torch.randn(rows.shape, generator=generator, device=device))
    wanted = torch.randn(queries, 2048, generator=generator, device=device)
    start = time.perf_counter()
    peak_mb, _ = _peak_mb(lambda: knn_score(bank, wanted, K), device)
    return {
        "what": f"KNN score, {queries:,} queries, float16 bank 1,281,167 x 2,048, K = {K}",
        "ours_ms": 1000 * (time.perf_counter() - start),
        "peak_mb": peak_mb,
    }


def _peak_mb(call: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    """Megabytes in use at the worst moment of a call, above those before it, and the call's result."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = call()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20, result
    Path("/proc/self/clear_refs").write_text("5")  # Linux: start the peak of the resident memory anew
    before = _resident_kb("VmRSS")
    result = call()
    return (_resident_kb("VmHWM") - before) / 1024, result


def _resident_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _interleaved_medians(
    ours: Callable[[], object], baseline: Callable[[], object], device: torch.device
) -> tuple[float, float]:
    times: dict[Callable[[], object], list[float]] = {ours: [], baseline: []}
    for run in range(RUNS + 1):
        for function, measured in times.items():
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if run > 0:  # the first one warms up
                measured.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[ours]), statistics.median(times[baseline])


def main() -> None:
    """Print what `measure` returns, a line per row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--bank", type=int, default=50_000)
    parser.add_argument("--images", type=int, help="for the extraction (default: 10,000 on a GPU, 512 elsewhere)")
    parser.add_argument("--huge", action="store_true", help="also the float16 bank of 1,281,167 x 2,048: needs 6 GB")
    args = parser.parse_args()
    rows = measure(args.device, queries=args.queries, bank=args.bank, images=args.images)
    if args.huge:
        rows.append(measure_huge(args.device))
    for row in rows:
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))


if __name__ == "__main__":
    main()

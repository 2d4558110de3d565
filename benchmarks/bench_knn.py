"""The KNN score against faiss-cpu, which has as many threads as torch whatever the device; equality and memory too."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.rows import make_row
from benchmarks.timing import interleaved_medians
from utils.evaluation.scores import knn_score

K, DIM, CLASSES, RUNS = 100, 512, 10, 5
CPU_SHARE, GPU_TARGET_MS = 1.4, 300.0
MEMORY_MB, DIFFERENCE = 1500, 1e-5


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """A row for features without any structure, and one for classes; without faiss-cpu they have no baseline."""
    queries, bank = (50, 500) if quick else (10_000, 50_000)
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(CLASSES, DIM, generator=generator)
    rows = []
    for spread, name in ((None, ""), (0.5, f", in {CLASSES} classes")):
        features = []
        for count in (bank, queries):
            noise = torch.randn(count, DIM, generator=generator)
            in_classes = noise if spread is None else centers[torch.arange(count) % CLASSES] + spread * noise
            features.append(F.normalize(in_classes, dim=1))
        rows.append(_measure(*features, device, name))
    return rows


def _measure(rows: Tensor, wanted: Tensor, device: torch.device, name: str) -> dict:
    on_device = rows.to(device), wanted.to(device)
    functions = [lambda: knn_score(*on_device, K)]
    megabytes, ours = _peak_mb(functions[0], device)
    holds = megabytes is None or megabytes <= MEMORY_MB
    detail = "" if megabytes is None else f"peak {megabytes:,.0f} MB (at most {MEMORY_MB})"
    index = _faiss_index(rows)
    if index is not None:
        functions.append(lambda: index.search(wanted.numpy(), K))
        theirs = torch.from_numpy(index.search(wanted.numpy(), K)[0][:, -1])
        difference = (ours.cpu() + theirs).abs().max().item()
        holds = holds and difference <= DIFFERENCE
        detail += f"; largest difference {difference:.1e} (at most {DIFFERENCE})"
    times = interleaved_medians(functions, device, runs=RUNS, warm_up=0)  # the searches above were the warm-up
    on_gpu = device.type == "cuda"
    return make_row(
        f"KNN score, {len(wanted):,} queries, bank {len(rows):,} x {DIM}, K = {K}{name}",
        times[0],
        f"faiss-cpu IndexFlatL2, {torch.get_num_threads()} threads" if index else "",
        times[1] if index else None,
        limit_ms=GPU_TARGET_MS if on_gpu else None,
        share_of_time=CPU_SHARE if index and not on_gpu else None,
        holds=holds,
        detail=detail,
    )


def _faiss_index(rows: Tensor):
    try:
        import faiss
    except ImportError:
        print("faiss-cpu is missing, so KNN has no baseline: pip install -r benchmarks/requirements.txt")
        return None
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatL2(DIM)
    index.add(rows.numpy())
    return index


def _peak_mb(call: Callable[[], Tensor], device: torch.device) -> tuple[float | None, Tensor]:
    """MiB in use at the worst moment of a call above those before it, None where only Linux tells; and its result."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = call()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20, result
    try:
        Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
    except OSError:
        return None, call()
    before = _resident_kb("VmRSS")
    result = call()
    return (_resident_kb("VmHWM") - before) / 1024, result


def _resident_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))

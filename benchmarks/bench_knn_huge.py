"""Memory of the KNN score in a float16 bank of ImageNet through a ResNet-50. Needs 7 GB; not run by default."""

import time

import torch

from benchmarks.memory import peak_mb
from benchmarks.rows import make_row
from utils.evaluation.scores import knn_score

BY_REQUEST = True
K, DIM, QUERIES = 1000, 2048, 64
MEMORY_MB = 1500


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """One row from one search, of which memory is what counts."""
    count = 2_000 if quick else 1_281_167
    generator = torch.Generator(device).manual_seed(0)
    bank = torch.empty(count, DIM, dtype=torch.float16, device=device)
    for rows in bank.split(16384):
        rows.copy_(torch.randn(rows.shape, generator=generator, device=device))
    queries = torch.randn(QUERIES, DIM, generator=generator, device=device)
    start = time.perf_counter()
    megabytes, scores = peak_mb(lambda: knn_score(bank, queries, K).cpu(), device)
    elapsed_ms = 1000 * (time.perf_counter() - start)
    memory = "not known here" if megabytes is None else f"peak {megabytes:,.0f} MB beside the bank"
    return [
        make_row(
            f"KNN score, {QUERIES} queries, float16 bank {count:,} x {DIM:,}, K = {K:,}",
            elapsed_ms,
            detail=f"{memory} of {bank.nbytes / 2**20:,.0f} MB (at most {MEMORY_MB})",
        )
        | {"target": f"at most {MEMORY_MB} MB", "met": _met(megabytes, bool(scores.isfinite().all()))}
    ]


def _met(megabytes: float | None, finite: bool) -> str:
    if megabytes is None:
        return ""
    return "yes" if finite and megabytes <= MEMORY_MB else "no"

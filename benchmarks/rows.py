"""What a benchmark returns: rows with the same fields, each with its target and whether it was met."""

FIELDS = ("what", "ours_ms", "baseline", "baseline_ms", "ratio", "result", "target", "met", "detail")


def make_row(
    what: str,
    ours_ms: float,
    baseline: str = "",
    baseline_ms: float | None = None,
    *,
    times_as_fast: float | None = None,
    share_of_time: float | None = None,
    limit_ms: float | None = None,
    holds: bool = True,
    detail: str = "",
) -> dict:
    """One row; `ratio` is baseline_ms / ours_ms.

    Args:
        times_as_fast, share_of_time, limit_ms: the target, one of them or none: at least so many times as fast as the
            baseline, at most this share of the baseline's time, or at most so many milliseconds.
        holds: what else the target asks for, such as bounded memory; said in `detail`.
    """
    ratio = None if baseline_ms is None else baseline_ms / ours_ms
    target, met, result = "", None, ""
    if ratio is not None:
        result = f"{ratio:,.0f} times as fast" if ratio >= 100 else f"{ratio:.3g} times as fast"
    if share_of_time is not None or (ratio or 1) < 1:
        result = f"{1 / ratio:.3f} of its time"
    if limit_ms is not None:
        duration = f"{limit_ms / 1000:g} s" if limit_ms >= 1000 else f"{limit_ms:.4g} ms"
        target, met = f"at most {duration}", ours_ms <= limit_ms
    elif share_of_time is not None:
        target, met = f"at most {share_of_time:.4g} of its time", 1 / ratio <= share_of_time
    elif times_as_fast is not None:
        target, met = f"at least {times_as_fast:.4g} times as fast", ratio >= times_as_fast
    met = "" if met is None else "yes" if met and holds else "no"
    return dict(zip(FIELDS, (what, ours_ms, baseline, baseline_ms, ratio, result, target, met, detail), strict=True))

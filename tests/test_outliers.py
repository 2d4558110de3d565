"""Class queues and virtual outliers: against loops and brute force, in all the cases that break a Cholesky."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.golden_rules import GOLDEN
from utils.outliers import (
    ClassQueues,
    NoiseOfSteps,
    cholesky_with_jitter,
    least_likely_gaussian_samples,
    least_likely_noise,
    place,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_covariance(dim: int, dtype: torch.dtype = torch.float64) -> Tensor:
    root = torch.randn(dim, 2 * dim, generator=seeded(dim), dtype=dtype)
    return root @ root.T / (2 * dim)


# ---- queues


def loop_queues(batches: list[tuple[Tensor, Tensor]], sizes: list[int]) -> list[Tensor]:
    queues: list[list[Tensor]] = [[] for _ in sizes]
    for features, labels in batches:
        for feature, label in zip(features, labels.tolist(), strict=True):
            queues[label] = [*queues[label], feature][-sizes[label] :]
    return [torch.stack(queue) if queue else torch.zeros(0, features.shape[1]) for queue in queues]


def contents(queues: ClassQueues, label: int) -> Tensor:
    """Features of one class, oldest first."""
    size, filled = int(queues.sizes[label]), int(queues.filled[label])
    first = len(queues.rows) // len(queues.sizes) * label
    rows = queues.rows[first : first + size]
    return rows.roll(-int(queues.cursor[label]), 0)[size - filled :]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_queues_hold_the_last_features_of_each_class(batch_size: int) -> None:
    sizes = [5, 12, 1, 3]  # smaller than what a batch of 64 brings, too
    queues, batches = ClassQueues(sizes, 2), []
    generator = seeded()
    for _ in range(9):
        features = torch.randn(batch_size, 2, generator=generator)
        labels = torch.randint(3, (batch_size,), generator=generator)  # nothing of the last class
        batches.append((features, labels))
        queues.update(features, labels)
    for label, expected in enumerate(loop_queues(batches, sizes)):
        assert torch.equal(contents(queues, label), expected)


def test_statistics_equal_the_official_ones() -> None:
    golden = np.load(GOLDEN / "vos.npz")
    rows = torch.from_numpy(golden["queues"])
    classes, length, dim = rows.shape
    queues = ClassQueues([length] * classes, dim)
    labels = torch.arange(classes).repeat(length)
    queues.update(rows.transpose(0, 1).reshape(-1, dim), labels)
    means, covariance = queues.statistics()
    torch.testing.assert_close(means, torch.from_numpy(golden["means"]), rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(covariance.double(), torch.from_numpy(golden["covariance"]), rtol=1e-5, atol=2e-5)


def test_statistics_use_what_there_is() -> None:
    queues = ClassQueues([8, 3], 4)
    generator = seeded()
    first, second = torch.randn(2, 4, generator=generator), torch.randn(5, 4, generator=generator) + 7
    queues.update(torch.cat([first, second]), torch.tensor([0, 0, 1, 1, 1, 1, 1]))
    means, covariance = queues.statistics()
    kept = second[-3:]
    torch.testing.assert_close(means, torch.stack([first.mean(0), kept.mean(0)]))
    centred = torch.cat([first - first.mean(0), kept - kept.mean(0)])
    torch.testing.assert_close(covariance, centred.T @ centred / 5 + 1e-4 * torch.eye(4))


def test_a_single_class_has_statistics_too() -> None:
    queues, rows = ClassQueues([5], 3), torch.randn(7, 3, generator=seeded())
    queues.update(rows, torch.zeros(7, dtype=torch.long))
    means, covariance = queues.statistics()
    torch.testing.assert_close(means, rows[2:].mean(0, keepdim=True))
    torch.testing.assert_close(covariance, rows[2:].T.cov(correction=0) + 1e-4 * torch.eye(3))


def test_autocast_does_not_round_them() -> None:
    queues, generator = ClassQueues([20] * 3, 8), seeded()
    queues.update(torch.randn(60, 8, generator=generator), torch.arange(60) % 3)
    noise = torch.randn(3, 2, 8, generator=generator, dtype=torch.float64)
    expected = queues.statistics()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = queues.statistics()
        outliers = place(*found, noise)
    for ours, plain in zip((*found, outliers), (*expected, place(*expected, noise)), strict=True):
        assert ours.dtype == torch.float32 and torch.equal(ours, plain)


def test_an_empty_class_is_never_an_outlier_at_zero() -> None:
    queues = ClassQueues([4, 4], 3)
    queues.update(torch.randn(6, 3), torch.zeros(6, dtype=torch.long))
    means, covariance = queues.statistics()
    assert means[0].isfinite().all() and means[1].isnan().all()
    assert least_likely_gaussian_samples(means, covariance, 10, 1).isnan().any()


def test_queues_are_saved_and_go_on_where_they_were() -> None:
    queues, again = ClassQueues([5, 4], 3), ClassQueues([5, 4], 3)
    batches = [(torch.randn(6, 3), torch.randint(2, (6,))) for _ in range(4)]
    for batch in batches[:2]:
        queues.update(*batch)
    again.load_state_dict(queues.state_dict())
    for batch in batches[2:]:
        queues.update(*batch)
        again.update(*batch)
    for ours, theirs in zip(queues.statistics(), again.statistics(), strict=True):
        assert torch.equal(ours, theirs)


def test_queues_are_detached_float32() -> None:
    queues = ClassQueues([3, 3], 2)
    features = torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)
    queues.update(features, torch.tensor([0, 1]))
    assert queues.rows.dtype == torch.float32 and not queues.rows.requires_grad


def test_impossible_queues_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one place"):
        ClassQueues([3, 0], 2)
    with pytest.raises(ValueError, match="do not fit"):
        ClassQueues([3, 3], 2).update(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))


# ---- distribution of the samples


def test_the_longest_noise_is_the_least_likely_sample() -> None:
    means = torch.randn(4, 6, generator=seeded(), dtype=torch.float64) * 5
    covariance = random_covariance(6)
    factor, jitter = cholesky_with_jitter(covariance)
    noise = torch.randn(4, 500, 6, generator=seeded(1), dtype=torch.float64)
    samples = place(means, factor, noise)
    assert jitter == 0
    for mean, drawn, z in zip(means, samples, noise, strict=True):
        log_density = torch.distributions.MultivariateNormal(mean, covariance).log_prob(drawn)
        assert torch.equal((-log_density).topk(9).indices, z.norm(dim=1).topk(9).indices)


@pytest.mark.parametrize(("dim", "draws", "select"), [(1, 30, 2), (2, 50, 3), (5, 200, 2), (64, 40, 3), (20, 3, 3)])
def test_norms_are_those_of_brute_force(dim: int, draws: int, select: int) -> None:
    classes = 3000
    ours = least_likely_noise(classes, dim, draws, select, seeded(1)).norm(dim=2)
    brute = torch.randn(classes, draws, dim, generator=seeded(2)).norm(dim=2).topk(select, dim=1).values
    for rank in range(select):
        assert stats.ks_2samp(ours[:, rank].numpy(), brute[:, rank].numpy()).pvalue > 0.001
    if select > 1:  # the ranks of one class belong together
        gaps = [norms[:, 0] - norms[:, 1] for norms in (ours, brute)]
        assert stats.ks_2samp(*(gap.numpy() for gap in gaps)).pvalue > 0.001


def test_norm_of_the_papers_setting_follows_its_distribution() -> None:
    squares = least_likely_noise(4000, 128, 10_000, 1, seeded(3)).square().sum(2).flatten().numpy()
    uniform = stats.chi2.cdf(squares, 128) ** 10_000
    assert stats.kstest(uniform, "uniform").pvalue > 0.001


def test_directions_are_uniform_and_independent_of_the_norm() -> None:
    noise = least_likely_noise(20_000, 3, 100, 1, seeded(4))[:, 0]
    norms = noise.norm(dim=1)
    # A coordinate of a uniform point on the sphere in three dimensions is uniform (Archimedes).
    for coordinate in (noise / norms[:, None]).T.numpy():
        assert stats.kstest(coordinate, "uniform", args=(-1, 2)).pvalue > 0.001
        assert abs(np.corrcoef(coordinate, norms.numpy())[0, 1]) < 0.03


def test_samples_are_those_of_brute_force() -> None:
    means = torch.tensor([[3.0, -1.0]]).repeat(4000, 1)
    covariance = torch.tensor([[2.0, 0.9], [0.9, 0.7]])
    ours = least_likely_gaussian_samples(means, covariance, 50, 1, seeded(5))[:, 0]
    normal = torch.distributions.MultivariateNormal(means[0], covariance)
    torch.manual_seed(6)
    drawn = normal.sample((4000, 50))
    least = normal.log_prob(drawn).argmin(1)
    brute = drawn[torch.arange(4000), least]
    for direction in (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.7, -1.3])):
        assert stats.ks_2samp((ours @ direction).numpy(), (brute @ direction).numpy()).pvalue > 0.001


def test_noise_of_a_step_depends_on_its_place_alone() -> None:
    def noise() -> NoiseOfSteps:
        return NoiseOfSteps(3, 5, 40, 2, lambda epoch, block: seeded(100 * epoch + block), torch.device("cpu"))

    steps = [(0, 0), (0, 1), (0, 63), (0, 64), (2, 1)]
    one = noise()
    drawn = [one.of(*step).clone() for step in steps]
    for step, expected in zip(reversed(steps), reversed(drawn), strict=True):
        assert expected.shape == (3, 2, 5) and expected.dtype == torch.float32
        assert torch.equal(noise().of(*step), expected)
    assert len({float(each.sum()) for each in drawn}) == len(steps)
    block = least_likely_noise(64 * 3, 5, 40, 2, seeded(201)).view(64, 3, 2, 5)
    assert torch.equal(noise().of(2, 64 + 7), block[7].float())


def test_shape_order_and_repeatability() -> None:
    means, covariance = torch.randn(3, 4), random_covariance(4, torch.float32)
    samples = least_likely_gaussian_samples(means, covariance, 1000, 5, seeded())
    assert samples.shape == (3, 5, 4) and samples.dtype == torch.float32
    factor, _ = cholesky_with_jitter(covariance)
    whitened = torch.linalg.solve_triangular(factor, (samples - means[:, None]).transpose(1, 2), upper=False)
    lengths = whitened.norm(dim=1)
    assert (lengths.diff(dim=1) < 0).all()  # the least likely first
    assert torch.equal(samples, least_likely_gaussian_samples(means, covariance, 1000, 5, seeded()))
    everything = least_likely_gaussian_samples(means, covariance, 5, 5, seeded())
    assert everything.isfinite().all()


@pytest.mark.parametrize("select", [0, 11, -1])
def test_impossible_selections_are_refused(select: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.10"):
        least_likely_gaussian_samples(torch.zeros(2, 3), torch.eye(3), 10, select)
    with pytest.raises(ValueError, match="do not fit"):
        least_likely_gaussian_samples(torch.zeros(2, 3), torch.eye(4), 10, 1)


# ---- covariances that break a Cholesky


def test_two_thousand_dimensions_with_fewer_features_than_dimensions() -> None:
    queues = ClassQueues([50, 50], 2048)
    features = torch.randn(100, 2048, generator=seeded()).relu() * 30
    queues.update(features, torch.arange(2).repeat(50))
    means, covariance = queues.statistics()
    samples = least_likely_gaussian_samples(means, covariance, 10_000, 2, seeded())
    assert samples.shape == (2, 2, 2048) and samples.isfinite().all()
    spread = (samples - means[:, None]).norm(dim=2) / covariance.diagonal().sum().sqrt()
    assert ((0.5 < spread) & (spread < 2)).all()


@pytest.mark.parametrize("bad", [torch.full((3, 3), math.nan), -torch.eye(3), torch.eye(3) * math.inf])
def test_what_is_no_covariance_gives_nan_and_not_something_plausible(bad: Tensor) -> None:
    assert cholesky_with_jitter(bad)[0].isnan().all()


@pytest.mark.parametrize("rank", [8, 3, 1])
def test_the_least_addition_that_suffices_is_taken(rank: int) -> None:
    root = torch.randn(8, rank, generator=seeded()) * 1000
    covariance = root @ root.T
    mean = covariance.diagonal().mean()
    tried = (
        (torch.linalg.cholesky_ex(covariance + x * mean * torch.eye(8)), x) for x in (0, *torch.logspace(-6, -2, 5))
    )
    (expected, _), addition = next((found, x) for found, x in tried if found.info == 0)
    factor, jitter = cholesky_with_jitter(covariance)
    torch.testing.assert_close(factor, expected)
    torch.testing.assert_close(jitter, torch.as_tensor(addition * mean))
    assert (jitter == 0) == (rank == 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_on_a_gpu_never_waits_for_it() -> None:
    queues = ClassQueues([20] * 3, 16).to("cuda")
    features, labels = torch.randn(60, 16, device="cuda"), torch.arange(3, device="cuda").repeat(20)
    queues.update(features, labels)  # the first calls set up libraries
    least_likely_gaussian_samples(*queues.statistics(), 1000, 2, seeded())
    torch.cuda.set_sync_debug_mode("error")
    try:
        queues.update(features, labels)
        samples = least_likely_gaussian_samples(*queues.statistics(), 1000, 2, seeded())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    means, covariance = queues.cpu().statistics()
    expected = least_likely_gaussian_samples(means, covariance, 1000, 2, seeded())
    torch.testing.assert_close(samples.cpu(), expected, rtol=1e-3, atol=1e-3)

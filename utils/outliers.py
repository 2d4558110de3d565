"""VOS: class queues of features, and exact draws of the least likely of many Gaussian samples (Du et al. 2022, sec. 3).

With x = mu + L z, Sigma = L L^T and z standard normal, the density of x depends on |z| alone. So the least likely of n
draws are those of largest |z|. |z|^2 is chi-square and independent of the direction of z, which is uniform: the
largest of n chi-square values and as many directions give the same distribution as n draws, at a fraction of the cost.
"""

from collections.abc import Callable, Sequence

import torch
from scipy.special import chdtri
from torch import Tensor, nn

RIDGE = 1e-4  # on the diagonal of the covariance, as in the official code
STEPS_AT_ONCE = 64
LARGE = 512  # dimensions above which a wait for the device costs little beside the factorisation


class ClassQueues(nn.Module):
    """The last features of every class, in ring buffers that are saved with the module.

    Args:
        sizes: C lengths. VOS has 1,000 a class; a class with fewer images can only fill as many places.
        feat_dim: d, dimension of the features.
    """

    rows: Tensor
    cursor: Tensor
    filled: Tensor

    def __init__(self, sizes: Sequence[int], feat_dim: int) -> None:
        super().__init__()
        if not sizes or min(sizes) < 1:
            raise ValueError(f"every class needs a queue of at least one place, not {list(sizes)}")
        length = max(sizes)
        # The last row takes what is overwritten within the batch that brought it.
        self.register_buffer("rows", torch.zeros(len(sizes) * length + 1, feat_dim))
        self.register_buffer("cursor", torch.zeros(len(sizes), dtype=torch.long))
        self.register_buffer("filled", torch.zeros(len(sizes), dtype=torch.long))
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Append a batch to the queues of its classes, in the order of its rows; the oldest features leave.

        Args:
            features: (N, d) of any floating type; kept as float32.
            labels: (N,) int64 in 0..C-1.
        Raises:
            ValueError: shapes that do not fit.
        """
        if features.dim() != 2 or features.shape[1] != self.rows.shape[1] or labels.shape != features.shape[:1]:
            raise ValueError(
                f"features {tuple(features.shape)} and labels {tuple(labels.shape)} do not fit queues of "
                f"{self.rows.shape[1]}-dimensional features"
            )
        member = (labels[:, None] == torch.arange(len(self.sizes), device=labels.device)).long()  # N x C
        counts = member.sum(0)
        place = member.cumsum(0).gather(1, labels[:, None])[:, 0] - 1  # how many of its class came before, N
        size = self.sizes[labels]
        stays = counts[labels] - place <= size
        slot = labels * self._length + (self.cursor[labels] + place) % size
        self.rows[torch.where(stays, slot, len(self.rows) - 1)] = features.to(self.rows.dtype)
        self.cursor.copy_((self.cursor + counts) % self.sizes)
        self.filled.copy_(torch.minimum(self.filled + counts, self.sizes))

    @torch.no_grad()
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Class means (C, d) and tied covariance (d, d) of what is in the queues, 1e-4 on its diagonal.

        A class without any feature has a mean of NaN.
        """
        by_class = self.rows[:-1].view(len(self.sizes), self._length, -1)  # C x length x d
        means = by_class.sum(1) / self.filled[:, None]  # places that are not filled are zero
        occupied = torch.arange(self._length, device=means.device) < self.filled[:, None]
        centred = ((by_class - means[:, None]) * occupied[:, :, None]).flatten(0, 1)
        with torch.autocast(means.device.type, enabled=False):  # in half precision it would be no covariance
            covariance = centred.T @ centred / self.filled.sum()
        covariance.diagonal().add_(RIDGE)
        return means, covariance

    @property
    def _length(self) -> int:
        return (len(self.rows) - 1) // len(self.sizes)


def least_likely_gaussian_samples(
    means: Tensor, covariance: Tensor, sample_from: int, select: int, generator: torch.Generator | None = None
) -> Tensor:
    """For each class the `select` least likely of `sample_from` draws from N(mu_k, Sigma), exact in distribution.

    Args:
        means: (C, d), float32 or float64.
        covariance: (d, d); where it is singular, see `cholesky_with_jitter`.
        generator: where the random numbers come from; by default torch's own on the CPU.
    Returns:
        (C, select, d) on the device and in the dtype of the means, the least likely first.
    Raises:
        ValueError: shapes that do not fit, or `select` not in 1..sample_from.
    """
    classes, dim = means.shape
    if covariance.shape != (dim, dim):
        raise ValueError(f"means {tuple(means.shape)} and covariance {tuple(covariance.shape)} do not fit")
    factor, _ = cholesky_with_jitter(covariance)
    return place(means, factor, least_likely_noise(classes, dim, sample_from, select, generator))


def place(means: Tensor, factor: Tensor, noise: Tensor) -> Tensor:
    """mu_k + L z: (C, select, d) samples from means (C, d), factor L (d, d) and noise z (C, select, d) anywhere."""
    noise = _sent(noise.to(means.dtype), means.device)
    with torch.autocast(means.device.type, enabled=False):
        return means[:, None] + (noise.flatten(0, 1) @ factor.T).view_as(noise)


def least_likely_noise(
    classes: int, dim: int, sample_from: int, select: int, generator: torch.Generator | None = None
) -> Tensor:
    """For each class the `select` longest of `sample_from` standard normal vectors, longest first.

    Returns:
        (classes, select, dim) float64 on the device of the generator.
    Raises:
        ValueError: `select` not in 1..sample_from.
    """
    if not 1 <= select <= sample_from:
        raise ValueError(f"select must be in 1..{sample_from}, the number of draws, not {select}")
    kwargs = {"dtype": torch.float64, "device": "cpu" if generator is None else generator.device}
    # -log of the largest of n uniform numbers is exponential with rate n; given it, the others are n - 1 uniform ones.
    steps = torch.empty(classes, select, **kwargs).exponential_(generator=generator)
    steps /= torch.arange(sample_from, sample_from - select, -1, **kwargs)
    tails = -torch.expm1(-steps.cumsum(1))  # 1 - those uniform numbers, without cancellation
    directions = torch.randn(classes, select, dim, generator=generator, **kwargs)
    squares = torch.from_numpy(chdtri(dim, tails.cpu().numpy())).to(tails.device)  # exceeded with these probabilities
    return directions * (squares.sqrt() / directions.norm(dim=2))[:, :, None]


def _sent(noise: Tensor, device: torch.device) -> Tensor:
    """The noise on a device, without a wait of the host for the copy."""
    if device.type == "cuda" and noise.device.type == "cpu":
        noise = noise.pin_memory()
    return noise.to(device, non_blocking=True)


class NoiseOfSteps:
    """`least_likely_noise` for the steps of a training, drawn for 64 steps at once, which costs little more than one.

    Args:
        generator_of: epoch, number of the 64 steps in it -> generator; so the noise of a step depends on nothing else.
        device: where the noise is needed.
        first_epoch: before it no noise is needed, and none is drawn.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        sample_from: int,
        select: int,
        generator_of: Callable[[int, int], torch.Generator],
        device: torch.device,
        first_epoch: int = 0,
    ) -> None:
        self._shape = (STEPS_AT_ONCE, classes, select, dim)
        self._draws = (sample_from, select)
        self._generator_of = generator_of
        self._device = device
        self._first_epoch = first_epoch
        self._block: tuple[int, int] | None = None
        self._noise = torch.empty(0)

    def of(self, epoch: int, step: int) -> Tensor | None:
        """Noise of a step of an epoch, (classes, select, dim) float32; None before the first epoch that has some."""
        if epoch < self._first_epoch:
            return None
        block, row = divmod(step, STEPS_AT_ONCE)
        if self._block != (epoch, block):
            self._block = epoch, block
            count, classes, _, dim = self._shape
            noise = least_likely_noise(count * classes, dim, *self._draws, self._generator_of(epoch, block))
            self._noise = _sent(noise.float().view(self._shape), self._device)
        return self._noise[row]


def cholesky_with_jitter(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factor of a covariance (d, d), and what had to be added to its diagonal for it (a scalar tensor).

    The addition is 0 where that suffices, and otherwise grows tenfold from a millionth to a hundredth of the mean
    variance until the factorisation succeeds. On a GPU up to d = 512 all of them are tried at once, because the host
    would have to wait to learn that 0 has failed. A matrix that defeats them all, being no covariance or not
    finite, gives a factor of NaN, which ends a training with the message about its loss.
    """
    jitters = torch.logspace(-7, -2, 6, dtype=covariance.dtype, device=covariance.device)
    jitters[0].zero_()  # an assignment would copy a number from the host, and wait
    jitters = jitters * covariance.diagonal().mean()
    if covariance.device.type == "cpu" or len(covariance) > LARGE:
        factor, info = torch.linalg.cholesky_ex(covariance)
        if info == 0:
            return factor, jitters[0]
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    factors, info = torch.linalg.cholesky_ex(covariance + jitters[:, None, None] * identity)
    # argmin names the first of equals: the first success, or number 0 where there is none.
    first = (info != 0).int().argmin()[None]
    success = (info == 0).any()
    factor = torch.where(success, factors.index_select(0, first)[0], torch.nan)
    return factor, torch.where(success, jitters.index_select(0, first)[0], jitters[-1])

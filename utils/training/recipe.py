"""A recipe: what a method trains and how, as plain values, which a train script makes and a Run carries out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from utils.data.augment import Plain
from utils.data.batches import Batch
from utils.data.images import ImageSet
from utils.outliers import NoiseOfSteps
from utils.prototypes import Prototypes
from utils.training.distributed import gather_rows
from utils.training.monitor import Monitor

Losses = Mapping[str, Tensor]
Step = Callable[[nn.Module, Batch], Losses]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a method trains, and how.

    Attributes:
        model: the network that is trained and saved; one of those in models/.
        forward: its method that the steps call as `network(...)`.
        steps: the optimisation steps of a batch, one after the other. Each takes the network and the batch and gives
            scalars by name, the same names from each: "loss" is minimised, all are logged. A step depends on the
            tensors of the batch and of its modules alone, and reads none of them on the host.
        augmentation: makes the views of a batch.
        unlabelled: images of which each batch has as many beside its labelled ones; None for none.
        noise: random numbers for each batch, see utils.outliers; None for none.
        prototypes: of the classes; trained or moved by the steps, and part of every checkpoint.
        class_means: the prototypes of a new run start at the class means of ID train (test transform).
        others: further modules whose state belongs to the run, by name.
        monitor: what is watched beside the losses.
        late: parameters whose first gradient comes later than that of the others.
        nesterov: momentum of that kind.
        cosine_to: see `learning_rate`.
    """

    model: nn.Module
    steps: tuple[Step, ...]
    augmentation: Plain
    forward: str = "forward"
    unlabelled: ImageSet | None = None
    noise: NoiseOfSteps | None = None
    prototypes: Prototypes | None = None
    class_means: bool = False
    others: Mapping[str, nn.Module] = field(default_factory=dict)
    monitor: Monitor = field(default_factory=Monitor)
    late: Sequence[nn.Parameter] = ()
    nesterov: bool = True
    cosine_to: float | None = None

    @property
    def unit_prototypes(self) -> Tensor | None:
        """Those of the classes at the moment, unit rows; None without any."""
        return None if self.prototypes is None else self.prototypes.unit()

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything that is trained, saved and restored, by the names that saved states have."""
        prototypes = {} if self.prototypes is None else {"prototypes": self.prototypes}
        return {"model": self.model, **prototypes, **self.others}


class ForwardPass(nn.Module):
    """A method of a network as a module of its own, which is what DistributedDataParallel and torch.compile wrap.

    Args:
        late: parameters that are left out, with the parts that they belong to: DistributedDataParallel would wait for
            their gradient at every step. The losses give every process the same one, that of the whole batch.
    """

    def __init__(self, model: nn.Module, method: str = "forward", late: Sequence[nn.Parameter] = ()) -> None:
        super().__init__()
        apart = {id(parameter) for parameter in late}
        self.parts = nn.ModuleList(child for child in model.children() if apart.isdisjoint(map(id, child.parameters())))
        self._call = getattr(model, method)

    def forward(self, *args: Tensor | bool) -> Tensor | tuple[Tensor, ...] | dict[str, Tensor]:
        """What the method gives."""
        return self._call(*args)


def cross_entropy_step(network: nn.Module, batch: Batch) -> Losses:
    """One step of the cross-entropy baselines, on one view of the images of all processes."""
    logits = gather_rows(network(batch.images), batch.size)
    return {"loss": F.cross_entropy(logits, gather_rows(batch.labels, batch.size))}

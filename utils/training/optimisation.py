"""The optimisation steps of a batch: one by one, or with the network compiled and, on a GPU, replayed as a CUDA graph.

On a GPU the network of a small image takes less time than starting its hundreds of kernels one by one; a CUDA graph
starts them all at once. It repeats what was recorded, on the same memory: so the batch is copied to where the
recording has read it, and the learning rate is a tensor.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from utils.data.batches import Batch
from utils.errors import UserError, one_line, warn
from utils.training import distributed
from utils.training.precision import Precision
from utils.training.recipe import Losses, Recipe
from utils.training.settings import RunSettings

WARM_UP = 3  # batches before a recording: compilation, the choice of algorithms, the optimiser's buffers


def sgd(recipe: Recipe, settings: RunSettings, device: torch.device) -> torch.optim.SGD:
    """The optimiser of all that a recipe trains."""
    trained = [p for module in recipe.modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        trained,
        settings.learning_rate,
        settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=recipe.nesterov and settings.momentum > 0,
        fused=device.type in ("cpu", "cuda"),
    )
    if settings.momentum:
        # The fused SGD makes them without a value, and its first step writes none where float16 overflows in it. Nor
        # can it do with a momentum that only some parameters have, as where others get their first gradient later.
        for parameter in trained:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)
    return optimizer


class Optimisation:
    """Takes the optimisation steps of a recipe on a batch.

    Args:
        network: the forward pass that the steps call.
        compile_size: images of the batches, over all processes, for which the network is compiled and the steps are
            recorded; other batches, such as the rest of an epoch, go without, for which nothing is compiled twice. None
            for no compilation.
    Attributes:
        steady: whether the last batch was taken at the speed of those to come.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        device: torch.device,
        *,
        compile_size: int | None = None,
    ) -> None:
        self._network, self._steps, self._optimizer, self._precision = network, recipe.steps, optimizer, precision
        self._compile_size = compile_size
        # Every shape for itself: one kernel for all shapes would slow the batches of full size.
        self._compiled = None if compile_size is None else torch.compile(network, dynamic=False)
        self._records = compile_size is not None and device.type == "cuda" and distributed.world_size() == 1
        self._lr = torch.zeros((), device=device)
        self._rests: set[int] = set()  # sizes of other batches that there were
        self._shapes: dict[str, torch.Size] = {}
        self._warm_up = WARM_UP
        self._recording: tuple[torch.cuda.CUDAGraph, Batch, list[Losses]] | None = None
        self.steady = True

    def __call__(self, batch: Batch, lr: float) -> list[Losses]:
        """The losses of each step; on a GPU the next call may overwrite them."""
        lr = float(torch.tensor(lr)) if self._records else lr  # as exact as in a recording, so that both are one run
        if batch.size != self._compile_size:
            # The first of its size looks for the fastest algorithms, which may take longer than an epoch on a GPU.
            self.steady = self._compile_size is None or batch.size in self._rests
            self._rests.add(batch.size)
            return self._take(self._network, batch, lr)
        shapes = {name: tensor.shape for name, tensor in batch.tensors().items()}
        if shapes != self._shapes:  # VOS has noise from some epoch on
            self._shapes, self._warm_up, self._recording = shapes, WARM_UP, None
        self.steady = self._warm_up == 0
        if self._records and self.steady and self._recording is None:
            self._record(batch)
            self.steady = False
        if self._recording is not None:
            return self._replay(batch, lr)
        self._warm_up = max(self._warm_up - 1, 0)
        return self._take(self._compiled, batch, lr)

    def _take(self, network: nn.Module, batch: Batch, lr: float | Tensor) -> list[Losses]:
        self._set_rate(lr)
        taken = []
        for step in self._steps:
            with self._precision.autocast():
                losses = step(network, batch)
            self._precision.step(losses["loss"], self._optimizer)
            taken.append({name: value.detach() for name, value in losses.items()})
        return taken

    def _set_rate(self, lr: float | Tensor) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = lr

    def _record(self, batch: Batch) -> None:
        """Record the steps of a batch, which are not taken by that."""
        place = replace(batch, **{name: tensor.clone() for name, tensor in batch.tensors().items()})
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, such as that of a loader which pins memory, may use the GPU meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                losses = self._take(self._compiled, place, self._lr)
        except RuntimeError as error:
            self._records = False
            warn(f"the training step can not be recorded as a CUDA graph, and is slower without: {one_line(error)}")
        else:
            self._recording = graph, place, losses

    def _replay(self, batch: Batch, lr: float) -> list[Losses]:
        graph, place, losses = self._recording
        for name, tensor in batch.tensors().items():
            getattr(place, name).copy_(tensor)
        self._set_rate(lr)  # for the log and saved states; the recording reads the tensor
        self._lr.fill_(lr)
        graph.replay()
        return losses


@contextmanager
def compiler_errors() -> Iterator[None]:
    """Context in which a failure of torch.compile is a UserError."""
    # What stays in float32 under autocast, such as the logits of the losses, is meant to.
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
    try:
        yield
    except Exception as error:
        # Looked at by name, for the import of its class takes a second.
        if not any(kind.__name__ == "TorchDynamoException" for kind in type(error).__mro__):
            raise
        said, _, _ = str(error).partition("\n\n")  # then it tells how to debug the compiler
        raise UserError(
            f"--compile: {one_line(said)}\n"
            "  do         : install what it misses (a compiler of C and C++; Triton on a GPU), or leave --compile out"
        ) from error

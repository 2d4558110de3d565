"""A trained checkpoint as a detector of your own images: load_detector(FILE).score(images)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from utils.checkpoint import Checkpoint, load_checkpoint
from utils.data.decode import resize_center_crop, to_rgb
from utils.data.images import TensorImages, read_image
from utils.detection.reference import Reference, find_reference, load_reference
from utils.errors import UserError
from utils.evaluation.evaluation import require_finite
from utils.evaluation.features import Features, images_at_once, outputs_of, placed
from utils.evaluation.knn_search import Bank
from utils.evaluation.metrics import recall_threshold
from utils.evaluation.registry import check_names, chosen_scores
from utils.evaluation.score_parts import FittedScore, Ingredients, Score
from utils.evaluation.scores import majority_vote
from utils.files import typed

# Of the paper; files of the official code do not say theirs.
DEFAULT_TEMPERATURE = 0.1

ImageLike = Image.Image | str | Path


class Findings(NamedTuple):
    """What a detector says about N images.

    scores: (N,) larger = more in-distribution.
    classes: (N,) int64 nearest class, or None where neither prototypes nor labels of the bank are known.
    probabilities: (N,) of that class under CIDER's vMF mixture, or None without prototypes.
    """

    scores: Tensor
    classes: Tensor | None
    probabilities: Tensor | None


class Detector:
    """Scores images with a trained network and the reference statistics of its ID data; made by `load_detector`.

    Attributes:
        checkpoint, reference: what it was made of.
        shown: the score, as tables name it.
        id_scores: (N,) scores of ID images that are not in the bank.
        class_names: of the ID classes; numbers where nobody has named them.
        batch_size: images per forward pass.
        size: side in pixels that images are resized to.

    Args:
        score: any that the checkpoint can give (eval_cider.py --list-scores); None for that of the evaluation.
        device: None for a GPU where there is one.
        amp: "off", "bf16" or "fp16".
        batch_size: images per forward pass; by default 128, or fewer that suit a CPU.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        reference: Reference,
        *,
        score: str | None = None,
        device: torch.device | str | None = None,
        amp: str = "off",
        channels_last: bool = False,
        batch_size: int | None = None,
    ) -> None:
        self.checkpoint, self.reference = checkpoint, reference
        self.size = reference.size
        names = checkpoint.class_names or reference.class_names
        self.class_names = names or tuple(f"class {number}" for number in range(checkpoint.model.config["num_classes"]))
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.batch_size = batch_size or min(128, images_at_once(self._device))
        self._model = placed(checkpoint.model, self._device, channels_last=channels_last)
        self._settings = {
            "mean": reference.mean,
            "std": reference.std,
            "device": self._device,
            "amp": amp,
        }
        self._score, self._fitted = fitted_score(checkpoint, reference, score or reference.score, self._device)
        self.shown = self._score.shown.format(k=reference.k)
        self.id_scores = self._score.display(self._id_scores())
        self._prototypes = self._bank = None
        if checkpoint.prototypes is not None:
            self._prototypes = F.normalize(checkpoint.prototypes, dim=1).to(self._device)
        elif reference.bank_labels is not None:
            self._bank = Bank(F.normalize(reference.bank.to(self._device), dim=1))

    def _id_scores(self) -> Tensor:
        if (known := self.reference.id_scores.get(self._score.name)) is not None:
            return known
        if "images" in self._score.needs:
            raise UserError(
                f"--score {self._score.name} needs the ID images that the threshold comes from, which are not kept\n"
                f"  do         : evaluate with it: eval_cider.py --score {self._score.name}, or use --fit FOLDER"
            )
        with torch.no_grad():
            outputs = self._model.outputs_from_penultimate(self.reference.held_out.to(self._device))
        return self._fitted(outputs, None).cpu()

    def score(self, images: Tensor | ImageLike | Sequence[ImageLike]) -> Tensor:
        """Scores of images, (N,) on the CPU, larger = more in-distribution.

        Args:
            images: (N, 3, H, W) uint8, RGB; or a list of PIL images or paths; or one of these. All are brought to the
                size that the network was trained with, as in the evaluation.
        Raises:
            ValueError: a tensor of another type or shape, or other objects.
            UserError: a file that cannot be read.
        """
        return self.examine(images).scores

    def examine(self, images: Tensor | ImageLike | Sequence[ImageLike]) -> Findings:
        """Scores, nearest classes and their probabilities; arguments and errors as in `score`."""
        if isinstance(images, (Image.Image, str, Path)):
            images = [images]
        if isinstance(images, Tensor) and (images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3):
            raise ValueError(f"expected (N, 3, H, W) uint8, got {tuple(images.shape)} {images.dtype}")
        batches = (images[start : start + self.batch_size] for start in range(0, len(images), self.batch_size))
        found = [self._examine_batch(self._pixels(batch).to(self._device)) for batch in batches]
        if not found:
            return Findings(torch.empty(0), None, None)
        return Findings(*(None if part[0] is None else torch.cat(part).cpu() for part in zip(*found, strict=True)))

    def threshold(self, id_recall: float = 0.95) -> float:
        """The score that this share of ID images reaches which are not in the bank; an image that reaches it is ID."""
        return recall_threshold(self.id_scores, id_recall)

    def _pixels(self, images: Tensor | Sequence[ImageLike]) -> Tensor:
        if isinstance(images, Tensor) and images.shape[2:] == (self.size, self.size):
            return images
        return torch.stack([torch.from_numpy(resize_center_crop(_rgb(image), self.size)) for image in images])

    def _examine_batch(self, images: Tensor) -> Findings:
        (found,) = outputs_of(self._model, [images], **self._settings)
        outputs = {name: values.clone() for name, values in found.items()}  # some scores need gradients from there on
        scores = self._score.display(self._fitted(outputs, TensorImages("images", images)))
        require_finite(scores.isfinite(), "images")
        if self._prototypes is not None:
            # The mixture has one concentration 1/tau and equal weights, so p(c|z) = softmax(z.mu_c / tau), or its sum
            # over the prototypes of the class.
            temperature = self.checkpoint.args.get("temp", DEFAULT_TEMPERATURE)
            shares = (outputs["embedding"] @ self._prototypes.T / temperature).softmax(1)
            probabilities = shares.view(len(shares), -1, len(self.class_names)).sum(1)
            return Findings(scores, *reversed(probabilities.max(1)))
        if self._bank is not None:
            rows = self._bank.search(F.normalize(outputs["penultimate"], dim=1), (self.reference.k,)).indices
            return Findings(scores, majority_vote(self.reference.bank_labels.to(rows.device), rows), None)
        return Findings(scores, None, None)


def load_detector(path: str | Path, *, reference: str | Path | None = None, **settings: Any) -> Detector:
    """A checkpoint with the reference statistics that its evaluation has stored beside it, ready to score images.

    Args:
        path: checkpoint file, of this repository or of the official code.
        reference: file of the statistics; None for the place beside the checkpoint.
        settings: `score`, `device`, `amp`, ... as Detector takes them.
    Raises:
        UserError: either file is missing or damaged, they do not belong together, or they can not give this score.
    """
    checkpoint = load_checkpoint(path)
    place = find_reference(checkpoint.path) if reference is None else Path(reference)
    get_them = typed("eval_cider.py", "--ckpt", checkpoint.path)
    if not place.is_file():
        raise UserError(
            f"{checkpoint.path} has no reference statistics to compare images with.\n"
            f"  looked for : {place}\n"
            f"  get them by: {get_them}\n"
            f"  or         : {typed('detect.py', '--ckpt', checkpoint.path)} --fit FOLDER_OF_ID_IMAGES"
        )
    found = load_reference(place)
    if found.checkpoint_sha256 != checkpoint.sha256:
        raise UserError(
            f"{place} belongs to another checkpoint than {checkpoint.path}\n"
            f"  do         : {get_them}   (or detect.py --fit) makes it anew"
        )
    return Detector(checkpoint, found, **settings)


@torch.no_grad()
def fitted_score(
    checkpoint: Checkpoint, reference: Reference, name: str, device: torch.device
) -> tuple[Score, FittedScore]:
    """The score of that name, fitted to the bank; the checkpoint's network is on `device`.

    Raises:
        UserError: there is no such score, the checkpoint can not give it, or the features do not allow it.
    """
    check_names([name])
    given = Ingredients.of(
        checkpoint,
        k=reference.k,
        device=device,
        mean=reference.mean,
        std=reference.std,
        labels=reference.bank_labels is not None,
    )
    (score,), _ = chosen_scores([name], given, checkpoint.method.label)
    outputs = {"penultimate": reference.bank.to(device)}
    if "classifier" in score.needs:
        outputs = checkpoint.model.outputs_from_penultimate(outputs["penultimate"])
    return score, score.fit(Features(outputs, reference.bank_labels).to(device), given)


def _rgb(image: ImageLike | Tensor) -> Image.Image:
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"expected (3, H, W) uint8, got {tuple(image.shape)} {image.dtype}")
        return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))
    if not isinstance(image, (Image.Image, str, Path)):
        raise ValueError(f"expected a tensor, PIL images or paths, got {type(image).__name__}")
    return to_rgb(image) if isinstance(image, Image.Image) else read_image(image)

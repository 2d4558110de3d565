"""What a training uses where the command line says nothing: by the records of the method and of the ID set."""

from typing import Any

from utils.data.id_records import id_set
from utils.methods import METHODS

_COMMON = dict(
    width=64,
    stem="cifar",
    pretrained=False,
    cosine=True,
    warmup="none",
    momentum=0.9,
    weight_decay=1e-4,
    save_epoch=100,
)
# What --in-dataset folder trains at by method: the learning rate for a batch of 128 images.
FOLDER_RATES = {"cider": 0.125, "vos": 0.05, "mcd-pretrain": 0.1, "mcd": 0.01}
LARGEST_BATCH, SMALLEST_BATCH, STEPS_PER_EPOCH = 128, 16, 16


def usual_settings(method: str, id_name: str, model: str | None = None) -> dict[str, Any]:
    """Settings of a train script by option name.

    Args:
        method: "cider", "supcon", "palm" or "ce" of train_cider.py, "vos" or "mcd".
        model: the encoder, where the command line names one.
    """
    settings = dict(_COMMON)
    of_method = {each.name: each.settings for each in METHODS}
    for name in (method,) if method in ("cider", "vos", "mcd") else ("cider", method):
        settings |= {**of_method[name], **id_set(id_name).settings.get(name, {})}
    if model is not None and not model.startswith("resnet"):
        settings["width"] = 64  # which such encoders do not ask for
    if method == "vos" and model is not None and model.startswith("densenet"):
        settings["weight_decay"] = 1e-4  # the official code has another one for its DenseNet
    return settings


def total_epochs(method: str, id_name: str) -> int:
    """Epochs of all stages of a method, one of utils.methods, on an ID set."""
    settings = usual_settings(method.removesuffix("-pretrain"), id_name)
    return settings.get("pretrain_epochs", 0) + (0 if method == "mcd-pretrain" else settings["epochs"])


def folder_batches(method: str, train_images: int, batch_size: int | None = None) -> dict[str, Any]:
    """Batch size and learning rate for classes of one's own, where the command line does not say them.

    batch = the largest power of two with at least 16 steps an epoch, from 16 to 128;    rate = r128 * batch / 128

    Why: with batches of 128 a folder of some hundred images has few steps an epoch, and its classes stay in one place.
    Chosen by the ID accuracy on held-out images of seven folders of 2 to 20 classes and 48 to 576 training images
    (results/folder_search.csv). Up to 480 images 16 was 4 points better than 32 by KNN and 10 by the nearest prototype
    (16 pairs of runs), 8 no better, and higher rates no better. No folder of more images was tried.

    Args:
        method: of FOLDER_RATES.    train_images: of all classes.    batch_size: where it is given.
    """
    if batch_size is None:
        steps = train_images // STEPS_PER_EPOCH
        batch_size = min(LARGEST_BATCH, max(SMALLEST_BATCH, 1 << max(0, steps.bit_length() - 1)))
    return {"batch_size": batch_size, "learning_rate": FOLDER_RATES[method] * batch_size / 128}

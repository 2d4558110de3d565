"""What a training uses where the command line says nothing: the papers' settings, and those of the ID set's record."""

from typing import Any

from utils.data.id_records import id_set

_COMMON = dict(
    prototype_init="class-means",
    width=64,
    stem="cifar",
    pretrained=False,
    warmup_epochs=10,
    momentum=0.9,
    weight_decay=1e-4,
    cosine=True,
    lr_decay_epochs=(100, 150, 180),
    save_epoch=100,
)
# OpenOOD's, which has no others than these for CIFAR; elsewhere batch and rate are those of CIDER.
_PALM_COMMON = dict(proto_m=0.9, w=1.0, cache_size=6, nearest=5)
_VOS_COMMON = dict(
    model="wrn-40-2",
    width=64,
    stem="cifar",
    pretrained=False,
    train_layers="all",
    feat_dim=0,
    epochs=100,
    batch_size=128,
    learning_rate=0.1,
    cosine=True,
    lr_decay_epochs=(50, 75, 90),
    warmup="none",
    warmup_epochs=5,
    momentum=0.9,
    weight_decay=5e-4,
    save_epoch=100,
    sample_number=1000,
    seed=1,
)
_MCD_COMMON = dict(
    model="densenet-bc-100-12",
    width=64,
    stem="cifar",
    pretrained=False,
    train_layers="all",
    epochs=10,
    batch_size=128,
    learning_rate=0.01,
    cosine=False,
    lr_decay_epochs=(),
    warmup="none",
    warmup_epochs=1,
    momentum=0.9,
    weight_decay=1e-4,
    save_epoch=100,
    seed=1,
    pretrain_epochs=300,
    pretrain_batch_size=64,
    pretrain_learning_rate=0.1,
    pretrain_weight_decay=5e-4,
)
# What --in-dataset folder trains at by method: the learning rate for a batch of 128 images.
FOLDER_RATES = {"cider": 0.125, "vos": 0.05, "mcd-pretrain": 0.1, "mcd": 0.01}
LARGEST_BATCH, SMALLEST_BATCH, STEPS_PER_EPOCH = 128, 16, 16


def mcd_settings(id_name: str, model: str | None) -> dict[str, Any]:
    """Settings of train_mcd.py by option name, for an ID set and the encoder where the command line names one."""
    settings = {**_MCD_COMMON, **id_set(id_name).settings.get("mcd", {})}
    if model is not None and not model.startswith("resnet"):
        settings["width"] = 64  # which such encoders do not ask for
    return settings


def vos_settings(id_name: str, model: str | None) -> dict[str, Any]:
    """Settings of train_vos.py by option name, for an ID set and the encoder where the command line names one."""
    settings = {**_VOS_COMMON, **id_set(id_name).settings.get("vos", {})}
    if model is not None and model.startswith("densenet"):
        settings["weight_decay"] = 1e-4  # the official code has another one for its DenseNet
    if model is not None and not model.startswith("resnet"):
        settings["width"] = 64  # which such encoders do not ask for
    return settings


def cider_settings(id_name: str, loss: str) -> dict[str, Any]:
    """Settings of train_cider.py by option name, for an ID set and a loss ("cider", "supcon", "palm" or "ce")."""
    own = id_set(id_name).settings
    of_loss = {"ce": own.get("ce", {}), "palm": {**_PALM_COMMON, **own.get("palm", {})}}.get(loss, {})
    return {**_COMMON, "warmup": "linear", **own.get("cider", {}), **of_loss}


def total_epochs(method: str, id_name: str) -> int:
    """Epochs of all stages of a method, one of utils.methods, on an ID set."""
    if method in ("mcd", "mcd-pretrain"):
        settings = mcd_settings(id_name, None)
        return settings["pretrain_epochs"] + (settings["epochs"] if method == "mcd" else 0)
    return (vos_settings(id_name, None) if method == "vos" else cider_settings(id_name, method))["epochs"]


def folder_batches(method: str, train_images: int, batch_size: int | None = None) -> dict[str, Any]:
    """Batch size and learning rate for classes of one's own, where the command line does not say them.

    batch = the largest power of two with at least 16 steps an epoch, from 16 to 128;    rate = r128 * batch / 128

    Why: with batches of 128 a folder of some hundred images has few steps an epoch, and its classes stay in one place.
    Batch and rate fall together, as in the paper's 0.5 for 512 and the 0.03 for 32 of the digits here. Chosen by the
    ID accuracy on held-out images of seven folders of 2 to 20 classes and 48 to 576 training images (its mean by KNN
    and by nearest prototype; results/folder_search.csv). Up to 480 images 16 was 7 points better than 32 (16 pairs of
    runs) and 8 no better than 16; for 576 both were right, and at 32 x 32 pixels 16 left the common place later
    than 32. Higher rates were no better. The number of classes made no difference of its own. No folder of more
    images was tried: there the sixteen steps decide.

    Args:
        method: of FOLDER_RATES.    train_images: of all classes.    batch_size: where it is given.
    """
    if batch_size is None:
        steps = train_images // STEPS_PER_EPOCH
        batch_size = min(LARGEST_BATCH, max(SMALLEST_BATCH, 1 << max(0, steps.bit_length() - 1)))
    return {"batch_size": batch_size, "learning_rate": FOLDER_RATES[method] * batch_size / 128}

"""The papers' settings per ID set: what a training uses where the command line says nothing."""

from typing import Any

# CIDER: Ming et al. 2023 and the scripts of the official code (METHODS: 500 epochs of 512 images x 2 views).
# digits: a small run for two CPU cores. Batch size and learning rate were chosen on its ID training set alone: trained
# on the digits 0 to 3, told from 4 and 5, batch 32 with 0.03 had an AUROC of 98 %, 64 with 0.05 97 %, 128 with 0.2 85 %
# (24 epochs, one seed). The search began because an earlier setting did poorly on the demo's OOD sets.
_CONTRASTIVE: dict[str, dict[str, Any]] = {
    "digits": dict(
        model="resnet18",
        width=16,
        epochs=30,
        batch_size=32,
        learning_rate=0.03,
        warmup_epochs=3,
        proto_m=0.95,
        w=2.0,
        prototype_init="simplex",  # class means need most of a short run to come apart
        seed=4,
    ),
    "CIFAR-10": dict(model="resnet18", epochs=500, batch_size=512, learning_rate=0.5, proto_m=0.95, w=2.0, seed=4),
    "CIFAR-100": dict(model="resnet34", epochs=500, batch_size=512, learning_rate=0.5, proto_m=0.5, w=1.0, seed=7),
    # The official schedule would not leave its warm-up of ten epochs within the ten epochs of the paper.
    "ImageNet-100": dict(
        model="resnet34",
        stem="imagenet",
        pretrained=True,
        epochs=10,
        batch_size=512,
        learning_rate=0.01,
        warmup_epochs=1,
        save_epoch=10,
        proto_m=0.95,
        w=2.0,
        seed=4,
    ),
    "folder": dict(
        model="resnet18",
        epochs=100,
        batch_size=None,  # by the number of images: folder_batches
        learning_rate=None,
        warmup_epochs=5,
        proto_m=0.95,
        w=2.0,
        prototype_init="simplex",  # as for digits: most folders are small and trained for few steps
        seed=4,
        train_layers="all",
    ),
}
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
# The cross-entropy baseline on CIFAR is a choice of this repository; the CIDER paper does not give one.
_CROSS_ENTROPY = dict(epochs=200, batch_size=128, learning_rate=0.1, cosine=False, warmup="none", weight_decay=5e-4)

# VOS: Du et al. 2022 and the official classification code. digits, ImageNet-100 and folder: choices of this repository,
# with a bottleneck where the encoder's features are too many for a Gaussian.
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
_VOS: dict[str, dict[str, Any]] = {
    "digits": dict(model="resnet18", width=16, epochs=40, batch_size=64, learning_rate=0.05, seed=4),
    "CIFAR-10": {},
    "CIFAR-100": {},
    "ImageNet-100": dict(
        model="resnet34", stem="imagenet", pretrained=True, feat_dim=64, epochs=10, learning_rate=0.01, save_epoch=10
    ),
    "folder": dict(model="resnet18", feat_dim=64, batch_size=None, learning_rate=None),
}

# MCD: Yu and Aizawa 2019; the fine-tuning as their code has it, the pre-training as a third party's. One OOD set is in
# the unlabelled mix; on CIFAR that of the paper's five which it finds hardest. digits, ImageNet-100 and folder: choices
# of this repository.
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
_MCD: dict[str, dict[str, Any]] = {
    "digits": dict(
        model="resnet18",
        width=16,
        batch_size=64,
        pretrain_epochs=20,
        pretrain_learning_rate=0.05,
        ood=["digits-6-9"],
        choice=50,  # a tenth of the 214 test images would be too few
        seed=4,
    ),
    "CIFAR-10": dict(ood=["TinyImageNet_resize"]),
    "CIFAR-100": dict(ood=["TinyImageNet_resize"]),
    "ImageNet-100": dict(
        model="resnet34",
        stem="imagenet",
        pretrained=True,
        pretrain_epochs=10,
        pretrain_learning_rate=0.01,
        ood=["dtd"],
        save_epoch=10,
    ),
    "folder": dict(
        model="resnet18",
        batch_size=None,  # by the number of images, here and in the pre-training: folder_batches
        learning_rate=None,
        pretrain_epochs=100,
        pretrain_batch_size=None,
        pretrain_learning_rate=None,
    ),
}
# What --in-dataset folder trains at by method: the learning rate for a batch of 128 images.
FOLDER_RATES = {"cider": 0.125, "vos": 0.05, "mcd-pretrain": 0.05, "mcd": 0.01}
LARGEST_BATCH, SMALLEST_BATCH, STEPS_PER_EPOCH = 128, 16, 20


def mcd_settings(id_name: str, model: str | None) -> dict[str, Any]:
    """Settings of train_mcd.py by option name, for an ID set and the encoder where the command line names one."""
    settings = {**_MCD_COMMON, **_MCD[id_name]}
    if model is not None and not model.startswith("resnet"):
        settings["width"] = 64  # which such encoders do not ask for
    return settings


def vos_settings(id_name: str, model: str | None) -> dict[str, Any]:
    """Settings of train_vos.py by option name, for an ID set and the encoder where the command line names one."""
    settings = {**_VOS_COMMON, **_VOS[id_name]}
    if model is not None and model.startswith("densenet"):
        settings["weight_decay"] = 1e-4  # the official code has another one for its DenseNet
    if model is not None and not model.startswith("resnet"):
        settings["width"] = 64  # which such encoders do not ask for
    return settings


def cider_settings(id_name: str, loss: str) -> dict[str, Any]:
    """Settings of train_cider.py by option name, for an ID set and a loss ("cider", "supcon" or "ce")."""
    settings = {**_COMMON, "warmup": "linear", **_CONTRASTIVE[id_name]}
    if loss == "ce" and id_name.startswith("CIFAR"):
        settings |= _CROSS_ENTROPY
    return settings


def total_epochs(method: str, id_name: str) -> int:
    """Epochs of all stages of a method, one of utils.methods, on an ID set."""
    if method in ("mcd", "mcd-pretrain"):
        settings = mcd_settings(id_name, None)
        return settings["pretrain_epochs"] + (settings["epochs"] if method == "mcd" else 0)
    return (vos_settings(id_name, None) if method == "vos" else cider_settings(id_name, method))["epochs"]


def folder_batches(method: str, train_images: int, batch_size: int | None = None) -> dict[str, Any]:
    """Batch size and learning rate for classes of one's own, where the command line does not say them.

    batch = the largest power of two with at least 20 steps an epoch, from 16 to 128;    rate = r128 * batch / 128

    Args:
        method: of FOLDER_RATES.    train_images: of all classes.    batch_size: where it is given.
    """
    if batch_size is None:
        steps = train_images // STEPS_PER_EPOCH
        batch_size = min(LARGEST_BATCH, max(SMALLEST_BATCH, 1 << max(0, steps.bit_length() - 1)))
    return {"batch_size": batch_size, "learning_rate": FOLDER_RATES[method] * batch_size / 128}

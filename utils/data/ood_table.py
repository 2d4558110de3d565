"""The one table of OOD test sets: what each is, where it is looked for, where it comes from."""

from dataclasses import dataclass

from utils.data.id_records import named

_HUANG = "http://pages.cs.wisc.edu/~huangrui/imagenet_ood_dataset/"
_PLACES = "http://data.csail.mit.edu/places/places365/"
_DROPBOX = "https://www.dropbox.com/s/raw/"
_KRIZHEVSKY = "https://www.cs.toronto.edu/~kriz/"
_RESEARCH, _UNKNOWN, _IMAGENET = "research use", "not stated", "ImageNet terms, non-commercial"


@dataclass(frozen=True)
class OODSet:
    """One row.

    Attributes:
        kind: "files" (images in a folder), "svhn", "mnist", "cifar", or "generated" (needs nothing on disk).
        source: address of the file to download, or of the folder of all `parts`.
        count: images of the official set; None where there is none.
        folders: places below the OOD root, best first; upper and lower case are not told apart.
        unverified_folders: places where a set of this kind but of unknown making is usually kept. It is used,
            but under a name that says so, and never enters the official mean.
        md5: of the file, where it is published.
        parts: file name -> MD5, of a set that comes as several files.
        megabytes: about how large the download is, where that is known.
        drawn: the file holds more images, of which prepare_data.py draws `count` by a seeded rule.
    """

    name: str
    kind: str
    source: str
    licence: str
    count: int | None = None
    folders: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    unverified_folders: tuple[str, ...] = ()
    md5: str | None = None
    parts: tuple[tuple[str, str], ...] = ()
    megabytes: int | None = None
    drawn: bool = False


OOD_SETS = (
    OODSet(
        "SVHN",
        "svhn",
        "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        "non-commercial use",
        10_000,
        ("svhn",),
        md5="eb5a983be6a315427106f1b164d9cef3",
        megabytes=64,
    ),
    OODSet(
        "places365",
        "files",
        _PLACES + "test_256.tar",
        _RESEARCH,
        10_000,
        ("places365/test_subset", "places365"),
        megabytes=4_400,
        drawn=True,
    ),
    OODSet(
        "LSUN",
        "files",
        _DROPBOX + "fhtsw1m3qxlwj6h/LSUN.tar.gz",
        _UNKNOWN,
        10_000,
        ("LSUN/test", "LSUN"),
        ("LSUN-crop", "LSUN_C"),
        md5="458a0a0ab8e5f1cb4516d7400568e460",
    ),
    OODSet(
        "iSUN",
        "files",
        "https://www.dropbox.com/s/ssz7qxfqae0cca5/iSUN.tar.gz?dl=1",
        _UNKNOWN,
        8_925,
        ("iSUN/iSUN_patches", "iSUN"),
    ),
    OODSet(
        "dtd",
        "files",
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        _RESEARCH,
        5_640,
        ("dtd/images", "dtd"),
        ("Textures",),
        md5="fff73e5086ae6bdbea199a49dfb8a4c1",
        megabytes=625,
    ),
    OODSet(
        "LSUN_resize",
        "files",
        _DROPBOX + "moqh2wh8696c3yl/LSUN_resize.tar.gz",
        _UNKNOWN,
        10_000,
        ("LSUN_resize/LSUN_resize", "LSUN_resize"),
        ("LSUN_R",),
        md5="278b7b31c8cb7e804a1465a8ce03a2dc",
    ),
    OODSet(
        "TinyImageNet_crop",
        "files",
        _DROPBOX + "avgm2u562itwpkl/Imagenet.tar.gz",
        _IMAGENET,
        10_000,
        ("Imagenet/test", "Imagenet"),
        unverified_folders=("TinyImageNet_crop",),
        md5="7c0827e4246c3718a5ee076e999e52e5",
    ),
    OODSet(
        "TinyImageNet_resize",
        "files",
        _DROPBOX + "kp3my3412u5k9rl/Imagenet_resize.tar.gz",
        _IMAGENET,
        10_000,
        ("Imagenet_resize/Imagenet_resize", "Imagenet_resize"),
        unverified_folders=("TinyImageNet_resize",),
        md5="0f9ff11d45babf2eff5fe12281d1ac31",
    ),
    OODSet(
        "TIN",
        "files",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        _IMAGENET,
        10_000,
        ("tiny-imagenet-200/val/images", "tin/val/images", "tin"),
        ("Tiny-ImageNet", "tiny-imagenet-200"),
        md5="90528d7ca1a48142e341f4ef8d21d0de",
        megabytes=248,
    ),
    OODSet(
        "MNIST",
        "mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "CC BY-SA 3.0",
        70_000,
        ("MNIST/raw", "MNIST"),
        parts=(
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ),
        megabytes=12,
    ),
    OODSet(
        "Places365-val",
        "files",
        _PLACES + "val_256.tar",
        _RESEARCH,
        36_500,
        ("places365_val", "val_256", "places365/val_256"),
        md5="e27b17d8d44f4af9a78502beb927f808",
        megabytes=525,
    ),
    OODSet(
        "CIFAR-10",
        "cifar",
        _KRIZHEVSKY + "cifar-10-python.tar.gz",
        _UNKNOWN,
        10_000,
        ("CIFAR10", "CIFAR-10"),
        md5="c58f30108f718f92721af3b95e74349a",
        megabytes=170,
    ),
    OODSet(
        "CIFAR-100",
        "cifar",
        _KRIZHEVSKY + "cifar-100-python.tar.gz",
        _UNKNOWN,
        10_000,
        ("CIFAR100", "CIFAR-100"),
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        megabytes=169,
    ),
    OODSet("iNaturalist", "files", _HUANG + "iNaturalist.tar.gz", "non-commercial use", 10_000, ("iNaturalist",)),
    OODSet("SUN", "files", _HUANG + "SUN.tar.gz", _RESEARCH, 10_000, ("SUN",)),
    OODSet("Places", "files", _HUANG + "Places.tar.gz", _RESEARCH, 10_000, ("Places",)),
    OODSet("digits-6-9", "generated", "scikit-learn", "CC BY 4.0 (UCI)"),
    OODSet("photographs", "generated", "scikit-learn", "CC BY 2.0"),
    OODSet("uniform-noise", "generated", "made here", "none"),
    OODSet("gaussian-noise", "generated", "made here", "none"),
)


# ID set -> OOD set of OpenOOD v1.5 -> its images, by the lists in openood_v15.json.
_FAR = {"MNIST": 70_000, "SVHN": 26_032, "dtd": 5_640}
OPENOOD_COUNTS = {
    "CIFAR-10": {"CIFAR-100": 9_000, "TIN": 7_793, **_FAR, "places365": 35_195},
    "CIFAR-100": {"CIFAR-10": 10_000, "TIN": 6_526, **_FAR, "places365": 33_773},
}
# Sets of OpenOOD whose images are another set of the table than that of their name.
OPENOOD_FILES = {"places365": "Places365-val"}


def find_ood_set(name: str) -> OODSet | None:
    """The row of that name or alias in any usual spelling; None when the table has no such row."""
    return named(name, {label: row for row in OOD_SETS for label in (row.name, *row.aliases)})


def full_ood_name(text: str) -> str:
    """argparse type: the full name of the set that `text` means; `text` itself where it means none, or is NAME=PATH."""
    row = find_ood_set(text)
    return text if row is None else row.name

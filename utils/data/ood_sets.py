"""OOD test sets by name: the sets of the table in ood_table.py, and any folder of your own as NAME=PATH."""

from pathlib import Path

from utils.data import digits, generated
from utils.data.id_sets import IDData
from utils.data.images import ImageSet, TensorImages
from utils.data.ood_table import OOD_SETS, OODSet, find_ood_set
from utils.data.resize import resized
from utils.errors import UserError

# A set that is larger is cut to a fixed subset of this many images.
MAX_IMAGES = 10_000
# Generated sets are as large as the ID test set, up to MAX_IMAGES, and up to this where an image is large.
MAX_LARGE_GENERATED = 1_000


class MissingSet(UserError):
    """An OOD set that is not on disk. Attributes: name, path (where it was looked for first), source."""

    def __init__(self, name: str, path: Path | str, source: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.path = Path(path)
        self.source = source


def default_ood_sets(id_name: str) -> list[str]:
    """Names of the OOD sets that a table for this ID set holds; the mean is over those of them that are complete."""
    return [row.name for row in OOD_SETS if id_name in row.default_for]


def default_ood_root(id_name: str) -> Path:
    """Where the OOD sets for this ID set lie when nothing else is said."""
    return Path("datasets/ImageNet_OOD_dataset" if id_name == "ImageNet-100" else "datasets/small_OOD_dataset")


def load_ood(name: str, id_data: IDData, root: str | Path | None = None, *, seed: int = 0) -> ImageSet:
    """Load one OOD set at the size and with the test transform of the ID set.

    Args:
        name: a name of the table, in any case, or NAME=PATH for a folder of images, flat or with folders inside.
        root: folder that holds the sets; None for the default place.
        seed: for generated sets and for the subset of a set of more than 10,000 images.
    Returns:
        the images; official_complete says whether it is the whole benchmark set, and the name says what else it is.
    Raises:
        MissingSet: not on disk.
        UserError: unknown name, or a damaged file.
    """
    row = find_ood_set(name)
    if row is None:
        known = ", ".join(known_row.name for known_row in OOD_SETS)
        raise UserError(f"unknown OOD set: {name}\n  known      : {known}\n"
                        "  or         : NAME=PATH for a folder of images")
    if row.kind == "generated":
        return _generated_set(row, id_data, seed)
    raise UserError(f"{name} cannot be loaded yet")


def _generated_set(row: OODSet, id_data: IDData, seed: int) -> TensorImages:
    size = id_data.size
    count = min(len(id_data.test), MAX_IMAGES if size <= 64 else MAX_LARGE_GENERATED)
    if row.name == "digits-6-9":
        images = resized(digits.held_out_digits(), size)
    elif row.name == "photographs":
        images = generated.photograph_patches(count, size, seed)
    elif row.name == "uniform-noise":
        images = generated.uniform_noise(count, size, seed)
    else:
        images = generated.gaussian_noise(count, size, seed)
    return TensorImages(row.name, images, official_complete=True)

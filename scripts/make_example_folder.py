"""Draw a small folder of class images, to try training, evaluating and detecting with classes of your own.

    python scripts/make_example_folder.py shapes

makes shapes/classes/{circle,cross,heart,square,star,triangle}/ (the ID classes) and shapes/unknown/ (spirals, waves and
rings, which are in no class), 64 x 64 PNG files, the same for the same seed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.start import start

if __name__ == "__main__":
    start()

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from utils.cli.options import OptionParser, positive_int, seed_number
from utils.errors import UserError, run_script
from utils.files import require_writable, typed

SIDE = 64
# Shapes are drawn larger and then shrunk, which smooths their edges.
OVERSAMPLING = 4


def polygon(radii: list[float]) -> np.ndarray:
    """Corners (N, 2) at equal angles and the given distances from the centre, the first one on top."""
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) - np.pi / 2
    return np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


def outlines() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Outlines (N, 2) around the origin, in a circle of radius 1: of the classes, and of what is in none of them."""
    t = np.linspace(0, 2 * np.pi, 60)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    a, b = 0.95, 0.32
    cross = [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)]
    turns = np.linspace(0, 5 * np.pi, 120)
    along = np.linspace(-1, 1, 80)
    classes = {
        "circle": polygon([0.85] * 60),
        "cross": np.array(cross),
        "heart": np.stack([16 * np.sin(t) ** 3, -y - 2], 1) / 16,
        "square": polygon([1.0] * 4),
        "star": polygon([1.0, 0.42] * 5),
        "triangle": polygon([1.0] * 3),
    }
    unknown = {
        "ring": polygon([0.85] * 60)[np.arange(62) % 60],  # closed, and round at its joint
        "spiral": (turns / turns[-1])[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1),
        "wave": np.stack([along, 0.45 * np.sin(7 * along)], 1),
    }
    return classes, unknown


def draw(outline: np.ndarray, filled: bool, rng: np.random.Generator) -> Image.Image:
    """A shape of random place, size, small turn and colour on a noisy ground of another brightness."""
    side = SIDE * OVERSAMPLING
    turn = rng.uniform(-0.25, 0.25)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    place = side / 2 + side * rng.uniform(-0.1, 0.1, 2)
    points = [tuple(point) for point in outline @ rotation.T * side * rng.uniform(0.28, 0.38) + place]
    dark, light = rng.uniform(20, 100, 3), rng.uniform(155, 245, 3)
    ground, color = (dark, light) if rng.random() < 0.5 else (light, dark)
    image = Image.new("RGB", (side, side), tuple(ground.astype(int)))
    pen = ImageDraw.Draw(image)
    if filled:
        pen.polygon(points, fill=tuple(color.astype(int)))
    else:
        pen.line(points, fill=tuple(color.astype(int)), width=side // 14, joint="curve")
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    noisy = np.asarray(image) + rng.normal(0, rng.uniform(2, 10), (SIDE, SIDE, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def main() -> None:
    """Draw all images and say what to do with them."""
    parser = OptionParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--per-class", type=positive_int, default=120, metavar="N", help="images (default: 120)")
    parser.add_argument("--seed", type=seed_number, default=0, help="(default: 0)")
    args = parser.parse_args()
    if args.folder.exists():
        raise UserError(f"{args.folder} is there already\n  do         : name a new folder")
    require_writable(args.folder)
    rng = np.random.default_rng(args.seed)
    classes, unknown = outlines()
    for part, shapes in (("classes", classes), ("unknown", unknown)):  # those in no class are drawn as lines
        for name, outline in shapes.items():
            folder = args.folder / part / name
            folder.mkdir(parents=True)
            for number in range(args.per_class):
                draw(outline, part == "classes", rng).save(folder / f"{name}_{number:04d}.png")
    train = typed("train_cider.py", "--in-dataset", "folder", "--id-loc", args.folder / "classes")
    print(
        f"Written: {args.folder}/classes ({len(classes)} classes of {args.per_class} images) and "
        f"{args.folder}/unknown ({len(unknown)} kinds)\n"
        f"Train on it:\n  {train} --image-size 32 --width 16 --epochs 40"
    )


if __name__ == "__main__":
    run_script(main)

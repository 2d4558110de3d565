"""Files with every kind of fault, made from a fixed seed, and a tally of what the loaders did with them."""

import io
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = 32
Fault = tuple[str, Callable[[Path], object]]  # its name, and what does it to a file
ENCODINGS = (
    ("png", "RGB", {}),
    ("png", "RGBA", {}),
    ("png", "P", {}),
    ("png", "L", {}),
    ("jpg", "RGB", {"quality": 90}),
    ("jpg", "RGB", {"progressive": True}),
    ("jpg", "CMYK", {}),
    ("bmp", "RGB", {}),
    ("gif", "P", {}),
    ("tiff", "RGB", {}),
    ("tiff", "RGB", {"compression": "tiff_deflate"}),
    ("tiff", "CMYK", {}),
    ("webp", "RGB", {}),
    ("webp", "RGB", {"lossless": True}),
    ("ppm", "RGB", {}),
    ("tga", "RGB", {}),
    ("jp2", "RGB", {}),
)
SCRIPTS = (
    "яблоко",
    "梨と林檎",
    "تفاح",
    "פרי",
    "ผลไม้",
    "सेब",
    "한국어",
    "ελιά",
    "🍎🍐",
    "ñandú",
    "e\u0301te\u0301",
    "a b",
    "a'b\"c",
    "$(x)",
    "%s{}",
    "-rf",
    "line\nbreak",
    "tab\there",
    "\x1b[31mred",
    "x" * 200,
    "می‌خواهم",
)


@dataclass(frozen=True)
class BadFile:
    """One file. outcome: "data", "skip", or "either"; pixels: (3, 32, 32), what it holds if it gives data."""

    fault: str
    name: str
    content: bytes
    outcome: str
    pixels: np.ndarray | None = None


class Outcomes:
    """How often each fault ended in which way."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter] = defaultdict(Counter)

    def add(self, fault: str, outcome: str) -> None:
        self.counts[fault][outcome] += 1

    def check(self, loader: str, least: int = 1_000) -> None:
        """Print the table; at least so many inputs, and 30 of each fault."""
        total = sum(sum(counts.values()) for counts in self.counts.values())
        print(f"\n{loader}: {total:,} inputs")
        for fault, counts in sorted(self.counts.items()):
            print(f"  {fault:<28}" + "".join(f"{counts[kind]:>6} {kind}" for kind in sorted(counts)))
            assert sum(counts.values()) >= 30, fault
        assert total >= least


def flipped(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    """One to eight bits of one byte turned round."""
    damaged = bytearray(content)
    damaged[at] ^= int(rng.integers(1, 256)) if rng.random() < 0.5 else 1 << int(rng.integers(8))
    return bytes(damaged)


def written(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


def cuts_and_flips(whole: bytes, pixels: bytes, rng: np.random.Generator, count: int) -> Iterator[Fault]:
    """`count` of each fault that any file can have; `pixels` are a part of `whole`, the rest counts as header."""
    start = whole.index(pixels)
    header = [at for at in range(len(whole)) if not start <= at < start + len(pixels)]
    for i in range(count):
        yield "truncated", written(whole[: int(rng.integers(0, len(whole)))])
        yield "truncated by a little", written(whole[: -int(rng.integers(1, 64))])
        yield "byte flip in the pixels", written(flipped(whole, start + int(rng.integers(len(pixels))), rng))
        for _ in range(4):
            yield "byte flip in the header", written(flipped(whole, header[int(rng.integers(len(header)))], rng))
        twice = flipped(flipped(whole, header[int(rng.integers(len(header)))], rng), int(rng.integers(len(whole))), rng)
        yield "two byte flips", written(twice)
        at = int(rng.integers(len(whole)))
        yield "a piece of zeros", written(whole[:at] + bytes(len(whole[at : at + 99])) + whole[at + 99 :])
        yield "another file", written((b"<html>moved</html>" * (i + 1), b"\x89PNG\r\n", b"", bytes(999))[i % 4])
        yield "a folder in its place", lambda path: (path.unlink(), path.mkdir())


def restore(path: Path, whole: bytes) -> None:
    if path.is_dir():
        path.rmdir()
    path.write_bytes(whole)


def is_one_clear_message(message: str, folder: Path) -> bool:
    """No traceback, nothing that a terminal would obey, and short once the path of the test is out of the way."""
    first, *rest = message.splitlines()
    return (
        bool(first.strip())
        and "Traceback" not in message
        and "\x1b" not in message
        and len(message.replace(str(folder), "")) < 2_000
        and all(line.startswith("  ") for line in rest)
    )


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read everything: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except PermissionError:
        pytest.skip("cannot become another user here")
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that any user can reach (those of pytest cannot be reached)."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def photo(rng: np.random.Generator, mode: str = "RGB", side: int = SIZE) -> Image.Image:
    y, x = np.mgrid[:side, :side]
    pixels = np.stack([x * 5, y * 6, (x + y) * 3], -1) % 200 + rng.integers(0, 50, (side, side, 3))
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, suffix: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, Image.registered_extensions()[f".{suffix}"], **options)
    return stream.getvalue()


def as_decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        image = image.convert("RGBA") if image.mode == "P" else image
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def image_faults(rng: np.random.Generator) -> list[BadFile]:
    """More than 1,000 files, at least 30 of each fault."""
    return [*_cut_and_flipped(rng), *_modes(rng), *_sizes(rng), *_names(rng), *_no_images(rng)]


def _cut_and_flipped(rng: np.random.Generator) -> Iterator[BadFile]:
    for number in range(9):
        for suffix, mode, options in ENCODINGS:
            whole = encoded(photo(rng, mode), suffix, **options)
            right = as_decoded(whole)
            name = f"{number}-{suffix}-{mode}-{len(options)}"
            cut = int(rng.integers(1, 9)) if number == 0 else int(rng.integers(1, len(whole)))
            yield BadFile("truncated", f"{name}-cut.{suffix}", whole[:-cut], "either", right)
            # Only PNG carries checksums: a flip gives the right pixels or none. Of the others, what the file now says.
            pixels = right if suffix == "png" else None
            for fault, at in (
                ("byte flip in the header", rng.integers(0, 48)),
                ("byte flip in the header", rng.integers(0, 160)),
                ("byte flip in the pixels", rng.integers(len(whole) // 3, len(whole))),
                ("byte flip in the pixels", rng.integers(len(whole) // 3, len(whole) - 16)),
            ):
                damaged = flipped(whole, int(at), rng)
                yield BadFile(fault, f"{name}-{rng.integers(10**9)}.{suffix}", damaged, "either", pixels)


def _modes(rng: np.random.Generator) -> Iterator[BadFile]:
    def file(fault: str, name: str, image: Image.Image, right: np.ndarray) -> BadFile:
        pixels = np.broadcast_to(np.rint(right), (3, SIZE, SIZE)) if right.ndim == 2 else right.transpose(2, 0, 1)
        return BadFile(fault, name, encoded(image, name.rpartition(".")[2]), "data", pixels)

    for i in range(12):
        grey = rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
        deep = rng.integers(0, 65536, (SIZE, SIZE), dtype=np.uint16)
        four = rng.integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)
        for suffix in ("png", "bmp", "tiff", "pgm"):
            yield file("greyscale", f"grey{i}.{suffix}", Image.fromarray(grey), grey)
        for suffix in ("png", "tiff", "pgm"):
            yield file("16-bit", f"deep{i}.{suffix}", Image.fromarray(deep), deep / 257)
        for suffix in ("png", "tiff", "tga"):
            yield file("RGBA", f"alpha{i}.{suffix}", Image.fromarray(four), four[..., :3])
            yield file("grey with alpha", f"la{i}.{suffix}", Image.fromarray(four[..., :2], "LA"), four[..., 0])
        ink, black = 255 - four[..., :3].astype(float), 255 - four[..., 3:].astype(float)
        for copy in range(3):
            yield file("CMYK", f"ink{i}-{copy}.tiff", Image.fromarray(four, "CMYK"), np.rint(ink * black / 255))
            yield file("black and white", f"bits{i}-{copy}.png", Image.fromarray(grey > 127), (grey > 127) * 255.0)


def _sizes(rng: np.random.Generator) -> Iterator[BadFile]:
    for i in range(18):
        colour = rng.integers(0, 256, 3, dtype=np.uint8)
        pixels = np.broadcast_to(colour[:, None, None], (3, SIZE, SIZE))
        for suffix, size, fault in (
            ("png", (1, 1), "one pixel"),
            ("bmp", (1, 1), "one pixel"),
            ("tiff", (1, 3_000), "a line"),
            ("ppm", (700, 1), "a line"),
        ):
            image = Image.new("RGB", size, tuple(colour.tolist()))
            yield BadFile(fault, f"{size[0]}x{size[1]}-{i}.{suffix}", encoded(image, suffix), "data", pixels)
        side = int(rng.integers(9_460, 60_000))
        bitmap = bytearray(encoded(Image.new("RGB", (1, 1)), "bmp"))
        bitmap[18:26] = side.to_bytes(4, "little") * 2
        yield BadFile("huge", f"huge{i}.bmp", bytes(bitmap), "skip")
        yield BadFile("huge", f"huge{i}.ppm", b"P6 %d %d 255\n" % (side, side) + bytes(99), "skip")


def _names(rng: np.random.Generator) -> Iterator[BadFile]:
    for i, script in enumerate(SCRIPTS * 2):
        whole = encoded(photo(rng), "png")
        yield BadFile("name in any script", f"{script}{i}.png", whole, "data", as_decoded(whole))
        yield BadFile("damaged, in any script", f"{script}{i} cut.png", whole[:-700], "skip")
    for i in range(4):
        for suffix, mode, options in ENCODINGS:
            whole = encoded(photo(rng, mode), suffix, **options)
            wrong = ("jpg", "png", "TIF", "Jpeg", "gif", "webp")[int(rng.integers(6))]
            name = f"wrong{i}-{suffix}-{mode}-{rng.integers(10**9)}.{wrong}"
            yield BadFile("wrong extension", name, whole, "data", as_decoded(whole))


def _no_images(rng: np.random.Generator) -> Iterator[BadFile]:
    postscript = encoded(photo(rng), "eps")
    for i in range(40):
        random = rng.integers(0, 256, int(rng.integers(1, 400)), dtype=np.uint8).tobytes()
        for fault, content in (
            ("empty file", b""),
            ("text", b"<html>moved</html>" * (i + 1)),
            ("random bytes", random),
            ("program (PostScript)", postscript + b"\n%" + bytes([65 + i])),
        ):
            yield BadFile(fault, f"{fault[:4]}{i}.{('png', 'jpg', 'bmp', 'tga')[i % 4]}", content, "skip")

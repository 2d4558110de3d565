"""From an image file of any kind to RGB pixels, and the test transform Resize + CenterCrop."""

import stat
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from utils.errors import one_line

# What the suffixes of image_folder.py stand for. Pillow knows forty more, and hands some to other programs (EPS).
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
# Pillow only warns between this number and twice of it; such an image takes some 300 MB, so it is refused here.
MAX_PIXELS = 89_478_485
# EXIF orientation -> what makes the picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Beyond this ratio of sides an image is cut to its middle before it is resized: Resize alone would blow it up.
MAX_ASPECT = 32


class UnreadableImage(Exception):
    """A file that is no image, or a damaged or far too large one; the message is the reason in a few words."""


def open_rgb(path: str | Path, *, draft: bool = False) -> Image.Image:
    """Decode a file of any mode (1, L, LA, P, RGBA, CMYK, 16-bit, ...) as `to_rgb` does.

    Args:
        draft: all of it is read, but a JPEG comes at an eighth of its size, which saves time.
    Raises:
        UnreadableImage: with the reason. Everything Pillow may raise on a bad file ends here.
    """
    try:
        with _open(path) as image:
            if draft:
                image.draft("RGB", (1, 1))
            return to_rgb(image)
    except UnreadableImage:
        raise
    # Pillow's decoders raise whatever a damaged file makes them stumble over (OSError, SyntaxError, ValueError, ...).
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


def check_readable(path: str | Path) -> str | None:
    """None when the file can be used, else why not. All of it is read."""
    try:
        open_rgb(path, draft=True)
    except UnreadableImage as error:
        return str(error)
    return None


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB copy of an image, turned as its EXIF orientation says; alpha is ignored.

    16-bit grey is scaled by 1/257 (Pillow's own conversion would clip at 255).
    """
    image.load()  # first, since Pillow itself turns TIFF while it loads them
    image = _turned(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Mode "I" is what Pillow gives for 16-bit PGM, and for 16-bit PNG before version 11.
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        scale = 1 / 257
        if image.mode == "F":
            scale = 255 if values.max() <= 1 else 1
        return Image.fromarray(np.rint((values * scale).clip(0, 255)).astype(np.uint8)).convert("RGB")
    if image.mode in ("P", "PA", "La", "RGBa"):
        # Straight to RGB, Pillow warns about palettes with transparency, and knows no way for premultiplied alpha.
        image = image.convert("RGBA")
    return image.convert("RGB")


def resize_center_crop(image: Image.Image, size: int) -> np.ndarray:
    """Test transform: shorter side to `size` (bilinear), then the central square. Returns (3, size, size) uint8.

    The same rounding as torchvision's Resize(size) and CenterCrop(size).
    """
    image = _without_extreme_aspect(image)
    width, height = image.size
    if width <= height:
        width, height = size, int(size * height / width)
    else:
        width, height = int(size * width / height), size
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    if (width, height) != (size, size):
        image = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _open(path: str | Path) -> Image.Image:
    # Opening a pipe would wait for ever; os.stat also follows links, so a broken one ends here.
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise UnreadableImage("not a regular file")
    image = Image.open(path, formats=_known_formats())
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise UnreadableImage(f"{image.width} x {image.height} pixels: more than {MAX_PIXELS:,}")
    if image.format == "PNG":
        with image:  # decoding looks at no checksum of the pixels; verify() does, and leaves what cannot be decoded
            image.verify()
        image = Image.open(path, formats=_known_formats())
    return image


def _turned(image: Image.Image) -> Image.Image:
    """The image upright. ImageOps.exif_transpose would also write EXIF data anew, and fail where they are damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # whatever damaged EXIF data make Pillow stumble over, the pixels are whole
        orientation = None
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


@cache
def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _without_extreme_aspect(image: Image.Image) -> Image.Image:
    width, height = image.size
    short = min(width, height)
    if max(width, height) <= MAX_ASPECT * short:
        return image
    keep_width, keep_height = min(width, MAX_ASPECT * short), min(height, MAX_ASPECT * short)
    left, top = (width - keep_width) // 2, (height - keep_height) // 2
    return image.crop((left, top, left + keep_width, top + keep_height))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "broken link or missing file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return one_line(f"{type(error).__name__}: {error}")

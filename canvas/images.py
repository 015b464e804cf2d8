"""Untrusted upload bytes → a bounded picture in one of three formats, upright, in sRGB, with nothing in it but pixels.

For worker processes only: decoders are where hostile files strike, and a worker's memory and time are limited from
outside. Source: docs/protocol.md, C29.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, features

from canvas.errors import ImageBroken, ImageFormatRefused, ImageTooLarge
from canvas.schema import LIMITS

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", *(("AVIF",) if features.check("avif") else ()))
"""The allow-list: Pillow is asked for these alone, so no other parser ever sees the bytes."""
LOSSLESS: Final = frozenset({"PNG", "GIF"})
QUALITY: Final = 92
TOO_MANY_PIXELS: Final = "A picture may have at most {} pixels in all."
LARGE_PIXELS: Final = 8_000_000
"""Above this a PNG is compressed less thoroughly, which takes a third of the time."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_SRGB: Final = ImageCms.createProfile("sRGB")


@dataclass(frozen=True)
class StoredImage:
    """What is kept of an upload: PNG, JPEG or WebP without metadata."""

    data: bytes
    media_type: str
    width: int
    height: int


def decode(data: bytes, max_bytes: int | None = None, max_pixels: int | None = None) -> StoredImage:
    """Read an upload and write it anew.

    Args:
        data: the file as it came; of an animation the first frame counts.
        max_bytes: instead of `limits.imageBytes`.
        max_pixels: instead of `limits.imagePixels`.

    Raises:
        ImageTooLarge: over `limits.imageBytes`, `imageEdge`, `imagePixels` or `imageFrames`; no pixel was read.
        ImageFormatRefused: not a PNG, JPEG, WebP, GIF or AVIF, whatever it is called.
        ImageBroken: of such a format, but damaged or cut off.
    """
    pixels_limit = max_pixels or LIMITS["imagePixels"]
    _bound("imageBytes", len(data), max_bytes or LIMITS["imageBytes"], "A picture may have at most {} bytes.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is bounded here, more tightly
            picture: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            format = picture.format or ""
            _bound(
                "imageEdge", max(picture.size), LIMITS["imageEdge"], "A picture may be at most {} pixels wide or high."
            )
            _bound("imagePixels", picture.width * picture.height, pixels_limit, TOO_MANY_PIXELS)
            frames = getattr(picture, "n_frames", 1)
            _bound("imageFrames", frames, LIMITS["imageFrames"], "An animation may have at most {} frames.")
            picture.load()
            picture = _plain(picture)
    except Image.DecompressionBombError as error:
        raise ImageTooLarge("imagePixels", pixels_limit, TOO_MANY_PIXELS.format(pixels_limit)) from error
    except UnidentifiedImageError as error:
        raise ImageFormatRefused from error
    except _BROKEN as error:
        raise ImageBroken from error
    stored, media_type = _encode(picture, lossless=format in LOSSLESS)
    return StoredImage(stored, media_type, *picture.size)


def _bound(limit: str, value: int, maximum: int, sentence: str) -> None:
    if value > maximum:
        raise ImageTooLarge(limit, maximum, sentence.format(maximum))


def _plain(picture: Image.Image) -> Image.Image:
    """The pixels as RGB or RGBA in sRGB, turned as the camera was held, with nothing attached."""
    profile = picture.info.get("icc_profile")
    picture = ImageOps.exif_transpose(picture)
    picture = _eight_bits(picture)
    if profile:
        picture = _in_srgb(picture, profile)
    has_alpha = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    picture = picture.convert("RGBA" if has_alpha else "RGB")
    if has_alpha and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert("RGB")
    picture.info = {}
    return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Sixteen bits per sample are brought to eight by their upper half, floating point by cutting."""
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return picture.convert("L") if picture.mode == "F" else picture


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Colours as the embedded profile means them; a profile that does not fit the picture is passed over."""
    alpha = picture.getchannel("A") if picture.mode in ("RGBA", "LA") else None
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colors = picture.convert({"RGBA": "RGB", "LA": "L", "1": "L"}.get(picture.mode, picture.mode))
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = ImageCms.profileToProfile(colors, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture
    if changed is None:
        return picture
    if alpha is not None:
        changed.putalpha(alpha)
    return changed


def _encode(picture: Image.Image, *, lossless: bool) -> tuple[bytes, str]:
    """Lossless stays lossless, the rest becomes JPEG, or WebP if it has alpha; equal pixels make equal bytes."""
    out = io.BytesIO()
    if lossless:
        picture.save(out, "PNG", compress_level=3 if picture.width * picture.height > LARGE_PIXELS else 6)
        return out.getvalue(), "image/png"
    if picture.mode == "RGBA":
        picture.save(out, "WEBP", quality=QUALITY, alpha_quality=100, method=4, exact=False)
        return out.getvalue(), "image/webp"
    picture.save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue(), "image/jpeg"

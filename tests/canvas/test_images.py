"""Uploads that are pictures, and those that only say so (C29)."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from canvas import images
from canvas.errors import ImageBroken, ImageFormatRefused, ImageRefused, ImageTooLarge
from canvas.schema import LIMITS


def saved(picture: Image.Image, format: str, **more: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **more)
    return out.getvalue()


def halves(mode: str = "RGB") -> Image.Image:
    """40 by 20 pixels, the left half red, the right half blue."""
    picture = Image.new(mode, (40, 20), "red")
    picture.paste(Image.new(mode, (20, 20), "blue"), (20, 0))
    return picture


def pixel(data: bytes, x: int, y: int) -> tuple[int, ...]:
    value = Image.open(io.BytesIO(data)).convert("RGBA").getpixel((x, y))
    assert isinstance(value, tuple)
    return value


@pytest.mark.parametrize(
    ("format", "media_type"),
    [("PNG", "image/png"), ("GIF", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/jpeg")],
)
def test_what_people_upload_is_taken(format: str, media_type: str) -> None:
    stored = images.decode(saved(halves(), format))
    assert (stored.media_type, stored.width, stored.height) == (media_type, 40, 20)
    red, green, blue, alpha = pixel(stored.data, 5, 10)
    assert red > 240
    assert green < 15
    assert blue < 15
    assert alpha == 255
    assert pixel(stored.data, 35, 10)[2] > 240


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_alpha_is_kept(format: str) -> None:
    picture = halves("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((40, 20)))
    stored = images.decode(saved(picture, format))
    assert stored.media_type == ("image/png" if format == "PNG" else "image/webp")
    alpha = Image.open(io.BytesIO(stored.data)).getchannel("A")
    assert list(alpha.crop((0, 0, 1, 20)).tobytes()) == list(picture.getchannel("A").crop((0, 0, 1, 20)).tobytes())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_becomes_colours(mode: str) -> None:
    grey = Image.new("L", (3, 3), 255 if mode == "1" else 128)
    if mode == "I;16":
        picture = grey.convert("I").point(lambda value: value * 257).convert(mode)
    else:
        picture = grey.convert("RGBA").convert(mode)
    stored = images.decode(saved(picture, "PNG"))
    expected = 255 if mode == "1" else 128
    assert all(abs(value - expected) <= 2 for value in pixel(stored.data, 1, 1)[:3])


def test_the_same_picture_is_stored_as_the_same_bytes_whatever_came_with_it() -> None:
    """Rule C29: the name of an asset follows its pixels."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "made on a Tuesday")
    plain, talking = saved(halves(), "PNG"), saved(halves(), "PNG", pnginfo=info, compress_level=1)
    assert plain != talking
    assert images.decode(plain) == images.decode(talking)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_the_camera_was_held(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = images.decode(saved(halves(), "JPEG", exif=exif, quality=95))
    assert (stored.width, stored.height) == ((40, 20) if orientation < 5 else (20, 40))
    red_is_first = orientation in (1, 4, 5, 6)
    corner, far = pixel(stored.data, 2, 2), pixel(stored.data, stored.width - 3, stored.height - 3)
    assert (corner[0] > corner[2]) == red_is_first
    assert (far[0] > far[2]) != red_is_first


def test_nothing_but_pixels_is_kept() -> None:
    """EXIF with a place, XMP, comments, a profile, text chunks and what hangs on behind are gone from every format."""
    secret = b"SECRET-48.8584N"
    exif = Image.Exif()
    exif[0x010E] = secret.decode()
    exif[0x0112] = 3
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("Where", secret.decode())
    info.add_itxt("XML:com.adobe.xmp", secret.decode())
    uploads = [
        saved(halves(), "JPEG", exif=exif, comment=secret, icc_profile=profile, xmp=secret) + secret,
        saved(halves(), "PNG", exif=exif, pnginfo=info, icc_profile=profile) + secret,
        saved(halves(), "WEBP", exif=exif, xmp=secret, icc_profile=profile) + secret,
        saved(halves().convert("P"), "GIF", comment=secret) + secret,
    ]
    for upload in uploads:
        assert secret in upload
        stored = images.decode(upload)
        assert b"SECRET" not in stored.data
        again = Image.open(io.BytesIO(stored.data))
        assert not again.getexif()
        assert not {"icc_profile", "exif", "xmp", "comment", "XML:com.adobe.xmp"} & again.info.keys()


def test_colours_are_brought_to_srgb_by_the_profile_that_came_with_them() -> None:
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.createProfile("sRGB")
    profile = ImageCms.ImageCmsProfile(srgb).tobytes()
    assert pixel(images.decode(saved(halves(), "PNG", icc_profile=profile)).data, 5, 5) == (255, 0, 0, 255)
    assert pixel(images.decode(saved(halves(), "PNG", icc_profile=b"no profile")).data, 5, 5) == (255, 0, 0, 255)
    unfit = ImageCms.ImageCmsProfile(lab).tobytes()
    assert pixel(images.decode(saved(halves(), "PNG", icc_profile=unfit)).data, 5, 5) == (255, 0, 0, 255)
    swapped = _swapped_primaries(profile)
    assert pixel(images.decode(saved(halves(), "PNG", icc_profile=swapped)).data, 5, 5)[1] > 200
    with_alpha = halves("RGBA")
    with_alpha.putalpha(100)
    green = pixel(images.decode(saved(with_alpha, "PNG", icc_profile=swapped)).data, 5, 5)
    assert green[1] > 200
    assert green[3] == 100


def _swapped_primaries(profile: bytes) -> bytes:
    """The profile with its red and green primaries exchanged, so that its red is our green."""
    return profile.replace(b"rXYZ", b"tmp_").replace(b"gXYZ", b"rXYZ").replace(b"tmp_", b"gXYZ")


def png(width: int, height: int, *, data: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG that claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def animation(frames: int) -> bytes:
    """A GIF of tiny frames."""
    first = saved(Image.new("P", (1, 1)), "GIF")
    image = first[first.index(b",") : -1]
    return first[:-1] + image * (frames - 1) + b";"


HOSTILE: dict[str, tuple[Callable[[], bytes], type[ImageRefused], str]] = {
    "nothing": (lambda: b"", ImageFormatRefused, "image_format"),
    "text": (lambda: b"just text", ImageFormatRefused, "image_format"),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', ImageFormatRefused, "image_format"),
    "eps": (lambda: saved(halves(), "EPS"), ImageFormatRefused, "image_format"),
    "tiff": (lambda: saved(halves(), "TIFF"), ImageFormatRefused, "image_format"),
    "bmp": (lambda: saved(halves(), "BMP"), ImageFormatRefused, "image_format"),
    "pdf": (lambda: saved(halves(), "PDF"), ImageFormatRefused, "image_format"),
    "jpeg 2000": (lambda: saved(halves(), "JPEG2000"), ImageFormatRefused, "image_format"),
    "icon": (lambda: saved(halves(), "ICO"), ImageFormatRefused, "image_format"),
    "too many bytes": (lambda: bytes(LIMITS["imageBytes"] + 1), ImageTooLarge, "image_too_large"),
    "bomb of pixels": (lambda: png(16_000, 16_000, data=zlib.compress(bytes(1000))), ImageTooLarge, "image_too_large"),
    "bomb of 4 gigapixels": (lambda: png(65_535, 65_535), ImageTooLarge, "image_too_large"),
    "a long strip": (lambda: png(17_000, 1), ImageTooLarge, "image_too_large"),
    "frames without end": (lambda: animation(LIMITS["imageFrames"] + 1), ImageTooLarge, "image_too_large"),
    "size 0": (lambda: png(0, 0), ImageRefused, ""),
    "negative size": (lambda: png(0xFFFFFFFF, 1), ImageRefused, ""),
    "cut off png": (lambda: saved(halves(), "PNG")[:-40], ImageBroken, "image_broken"),
    "cut off jpeg": (lambda: saved(Image.effect_noise((200, 200), 90), "JPEG")[:3000], ImageBroken, "image_broken"),
    "cut off webp": (lambda: saved(Image.effect_noise((200, 200), 90).convert("RGB"), "WEBP")[:3000], ImageRefused, ""),
    "no pixels": (lambda: png(40, 20), ImageBroken, "image_broken"),
    "pixels that are no zlib": (lambda: png(40, 20, data=b"garbage" * 9), ImageBroken, "image_broken"),
    "header only": (lambda: b"\x89PNG\r\n\x1a\n", ImageRefused, ""),
    "jpeg header only": (lambda: b"\xff\xd8\xff\xe0", ImageRefused, ""),
    "a riff of another kind": (lambda: b"RIFF\x10\x00\x00\x00WAVEfmt ", ImageFormatRefused, "image_format"),
    "text that unpacks": (
        lambda: saved(halves(), "PNG")[:33] + _ztxt(80_000_000) + saved(halves(), "PNG")[33:], ImageRefused, "",
    ),
}  # fmt: skip


def _ztxt(size: int) -> bytes:
    body = b"k\x00\x00" + zlib.compress(bytes(size), 9)
    return struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_is_refused_with_a_code(name: str) -> None:
    """Rule C29: refused by its content, with a sentence; no parser outside of the allow-list sees it."""
    make, kind, code = HOSTILE[name]
    with pytest.raises(kind) as refusal:
        images.decode(make())
    assert code in ("", refusal.value.code)
    assert refusal.value.message.endswith(".")


def test_a_node_can_take_less() -> None:
    upload = saved(halves(), "PNG")
    with pytest.raises(ImageTooLarge) as pixels:
        images.decode(upload, max_pixels=799)
    assert (pixels.value.limit, pixels.value.maximum) == ("imagePixels", 799)
    with pytest.raises(ImageTooLarge) as size:
        images.decode(upload, max_bytes=len(upload) - 1)
    assert size.value.limit == "imageBytes"
    assert images.decode(upload, max_bytes=len(upload), max_pixels=800).width == 40


DAMAGE = st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=6)
BASES = {format: saved(halves(), format) for format in ("PNG", "JPEG", "WEBP", "GIF")}


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(sorted(BASES)),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damage_ends_in_a_picture_or_a_refusal_never_otherwise(format: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(BASES[format])
    for at, value in changes:
        data[at % len(data)] = value
    try:
        stored = images.decode(bytes(data))
    except ImageRefused:
        return
    assert Image.open(io.BytesIO(stored.data)).size == (stored.width, stored.height)

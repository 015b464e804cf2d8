"""What may be refused in the canvas: sentences with a stable code."""

from __future__ import annotations


class CanvasError(Exception):
    """A refusal that its user can act on: `code` is stable, `message` is a sentence for people."""

    code = "canvas_error"
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnknownProduct(CanvasError):
    code = "unknown_product"

    def __init__(self, product: str) -> None:
        super().__init__("There is no such product in the catalogue.")
        self.product = product


class UnknownView(CanvasError):
    code = "unknown_view"

    def __init__(self, product: str, view: str) -> None:
        super().__init__(f"The product {product} has no such view.")
        self.product = product
        self.view = view


class InvalidRender(CanvasError):
    """Wrong arguments of a render: format, size, part, scene."""

    code = "invalid_render"


class RenderTooLarge(CanvasError):
    code = "render_too_large"

    def __init__(self, limit: str, maximum: int, message: str) -> None:
        super().__init__(message)
        self.limit = limit
        self.maximum = maximum


class ImageRefused(CanvasError):
    """Bytes that are no picture we take; nothing was kept."""

    code = "image_refused"


class ImageTooLarge(ImageRefused):
    """Over a named limit; `limit` is its name in `schema.json`, `maximum` its value."""

    code = "image_too_large"

    def __init__(self, limit: str, maximum: int, message: str) -> None:
        super().__init__(message)
        self.limit = limit
        self.maximum = maximum


class ImageFormatRefused(ImageRefused):
    code = "image_format"

    def __init__(self) -> None:
        super().__init__("This is no picture in a format that we take. Use PNG, JPEG, WebP, GIF or AVIF.")


class ImageBroken(ImageRefused):
    code = "image_broken"

    def __init__(self) -> None:
        super().__init__(
            "This picture is damaged or incomplete and cannot be read. Save it again and upload it once more."
        )

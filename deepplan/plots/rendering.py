"""A figure as the bytes of a picture."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

from deepplan.errors import InvalidInputError


def rendered(figure: Figure, suffix: str) -> bytes:
    """The picture in the format that a file's `suffix` asks for, PNG without one.

    Raises InvalidInputError for a suffix that matplotlib cannot write.
    """
    kind = suffix.removeprefix(".").lower()
    buffer = BytesIO()
    try:
        figure.savefig(buffer, format=kind or "png")
    except ValueError as error:
        raise InvalidInputError(f"cannot draw to a .{kind} file ({error}); name a .png, .svg or .pdf file") from None
    return buffer.getvalue()

"""Decompresses what others give: it has an end, and is no longer than said."""

from __future__ import annotations

import zlib
from base64 import b64decode

CUT = "what is compressed is cut off or was changed"


def inflated(text: str, most: int, altchars: bytes | None = None) -> bytes:
    """The bytes of a zlib stream in base64.

    Raises:
      ValueError: it is none, something follows it, or it is longer.
    """
    stream = zlib.decompressobj()
    try:
        whole = stream.decompress(b64decode(text, altchars=altchars, validate=True), most + 1)
    except (ValueError, zlib.error):
        raise ValueError(CUT) from None
    if len(whole) > most:
        raise ValueError(f"it is longer than {most} bytes when it is decompressed")
    if not stream.eof or stream.unused_data:
        raise ValueError(CUT)
    return whole

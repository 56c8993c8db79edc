"""What the model is told: the crash course, the packed source, token counts."""

from context.packing import Identity, pack
from context.tokens import count, encoding_name

__all__ = ["Identity", "count", "encoding_name", "pack"]

"""What the model is told: the crash course and the packed source, counted in tokens."""

from context import later
from context.packing import Identity, Steer, count, pack

__all__ = ["Identity", "Steer", "count", "later", "pack"]

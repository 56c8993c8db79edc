"""The log of model, code and hardware; scores. Its issue comes later; the room is kept."""

__all__: list[str] = []

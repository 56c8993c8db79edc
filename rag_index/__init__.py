"""Markdown and code to chunks, Chroma, search. Its issue comes later; the room is kept."""

__all__: list[str] = []

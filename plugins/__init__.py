"""What appears in the menu: drop-in files, and the kit they are made with. Its issue comes later;
the room is kept."""

__all__: list[str] = []

"""The parent process: restarts the server with its new source, and cannot be stopped by a patch."""

from supervisor.parent import Parent

__all__ = ["Parent"]

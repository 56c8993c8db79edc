"""The parent process: restarts the server with its new source, and cannot be stopped by a patch."""

from supervisor.parent import run

__all__ = ["run"]

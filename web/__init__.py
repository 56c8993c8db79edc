"""The shell: pages, chat, Markdown, safety, assets, and the server that a body runs."""

from web.app import make_app
from web.body import Control

__all__ = ["Control", "make_app"]

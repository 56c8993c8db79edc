"""The shell: pages, chat, Markdown, safety, assets, and the server that a body runs."""

from web.app import make_app
from web.body import Control
from web.rehearsal import visit

__all__ = ["Control", "make_app", "visit"]

"""The shell: layout, views, Markdown, safety, assets, and the server that a body runs."""

from web.app import Desk, make_app
from web.body import Control, serve

__all__ = ["Control", "Desk", "make_app", "serve"]

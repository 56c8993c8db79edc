"""What a page's head holds: settings, the libraries that set-up has installed, and our own files.

Invariant: no tag names another host.
"""

import hashlib
import json
from pathlib import Path

from fasthtml import components as c
from fasthtml.core import charset, viewport

ROOT = Path(__file__).resolve().parent.parent
STATIC, VENDOR = Path(__file__).with_name("static"), ROOT / "node_modules"
STYLES = "/vendor/@picocss/pico/css/pico.cyan.min.css", "/code.css", "/static/app.css"
SCRIPTS = (
    "/vendor/htmx.org/dist/htmx.min.js",
    "/vendor/htmx-ext-ws/dist/ws.min.js",
    "/static/app.js",
)
HTMX = {"allowEval": False, "allowScriptTags": False, "includeIndicatorStyles": False}
HTMX |= {"attributesToSettle": ["class"]}
TAGS = (
    charset,
    viewport,
    c.Meta(name="color-scheme", content="light dark"),
    c.Meta(name="htmx-config", content=json.dumps(HTMX)),
    c.Link(rel="icon", href="/static/favicon.svg"),
    *(c.Link(rel="stylesheet", href=address) for address in STYLES),
    *(c.Script(src=address, defer=True) for address in SCRIPTS),
)


def version() -> str:
    """Changes with our own files."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in STATIC.iterdir())).hexdigest()

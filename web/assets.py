"""What the browser loads: our own script and style, and the pinned libraries.

Knows nothing of pages. Invariant: when the libraries are installed, no tag names another host;
when they are not, the same versions come from FastHTML's usual CDN, held to their integrity.
"""

import hashlib
import json
from pathlib import Path

from fasthtml.components import Link, Script
from fasthtml.core import FT
from starlette.requests import Request
from starlette.responses import Response

ROOT = Path(__file__).resolve().parent.parent
STATIC = Path(__file__).with_name("static")
LOADED = (  # of package.json's assets, those that the page needs now
    "@picocss/pico/css/pico.min.css",
    "htmx.org/dist/htmx.min.js",
    "htmx-ext-ws/dist/ws.min.js",
)
CDN = "https://cdn.jsdelivr.net"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Assets:
    """Every file that is served, read once: a body serves one version as long as it lives."""

    def __init__(self) -> None:
        package = json.loads((ROOT / "package.json").read_text())
        self.integrity: dict[str, str] = package["assets"]
        self.versions: dict[str, str] = package["dependencies"]
        self.files = {path.name: path.read_bytes() for path in STATIC.iterdir()}
        vendored = {name: ROOT / "node_modules" / name for name in self.integrity}
        self.local = all(vendored[name].is_file() for name in LOADED)
        if self.local:
            self.files |= {n: path.read_bytes() for n, path in vendored.items() if path.is_file()}
        self.cdn = "" if self.local else CDN

    def digest(self, name: str) -> str:
        return hashlib.sha256(self.files[name]).hexdigest()[:12]

    def tags(self) -> list[FT]:
        """The tags for a page's head, libraries first."""
        return [self._tag(name) for name in (*LOADED, "app.css", "app.js")] + [
            Link(rel="icon", href=self.url("favicon.svg"), type="image/svg+xml")
        ]

    def url(self, name: str) -> str:
        return f"/static/{name}?v={self.digest(name)}"

    def _tag(self, name: str) -> FT:
        if name in self.files:
            address, extra = self.url(name), {}
        else:
            package = next(p for p in self.versions if name.startswith(p + "/"))
            rest = name.removeprefix(package)
            address = f"{CDN}/npm/{package}@{self.versions[package]}{rest}"
            extra = {"integrity": self.integrity[name], "crossorigin": "anonymous"}
        if name.endswith(".css"):
            return Link(rel="stylesheet", href=address, **extra)
        return Script(src=address, defer=True, **extra)

    def serve(self, request: Request) -> Response:
        """Answer `/static/…`; the address holds a digest, so a browser may keep it for ever."""
        name = request.path_params["name"]
        if name not in self.files:
            return Response("no such file", status_code=404, media_type="text/plain")
        headers = {"Cache-Control": "max-age=31536000, immutable"}
        kind = TYPES.get(Path(name).suffix, "application/octet-stream")
        return Response(self.files[name], headers=headers, media_type=kind)

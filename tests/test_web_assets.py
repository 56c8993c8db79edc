"""web/assets.py: served by us, or held to their integrity where there is no npm."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from fasthtml.core import to_xml

from web import assets

ROOT = Path(__file__).resolve().parent.parent


def test_with_npm_no_tag_names_another_host() -> None:
    """# N6"""
    found = assets.read()
    assert found.cdn == "" and "//" not in "".join(map(to_xml, found.tags))


def test_without_npm_the_same_bytes_come_from_the_cdn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """# M6: the integrity in package.json is that of the files that npm installs."""
    monkeypatch.setattr(assets, "VENDOR", tmp_path)
    found = assets.read()
    tags = "".join(map(to_xml, found.tags))
    package = json.loads((ROOT / "package.json").read_text())
    for name, path in assets.LIBRARIES.items():
        digest = hashlib.sha384((ROOT / "node_modules" / (name + path)).read_bytes()).digest()
        integrity = f"sha384-{base64.b64encode(digest).decode()}"
        assert package["assets"][name + path] == integrity and integrity in tags
        assert f"{found.cdn}/npm/{name}@{package['dependencies'][name]}{path}" in tags

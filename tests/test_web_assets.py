"""web/assets.py and set-up: the page's libraries are served by us, whoever brought them here."""

import json
import re
import shutil
from pathlib import Path

import pytest
from fasthtml.core import to_xml

import workbench
from web import assets

ROOT = Path(__file__).resolve().parent.parent


def test_no_tag_names_another_host_and_every_library_is_there() -> None:
    """# N6"""
    tags = "".join(map(to_xml, assets.TAGS))
    assert "//" not in tags
    libraries = re.findall(r'"/vendor/([^"]+)"', tags)
    assert len(libraries) == 3
    assert all((assets.VENDOR / name).is_file() for name in libraries)


def test_without_npm_the_same_bytes_come_from_the_cdn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """# M6: the digests in package.json are those of the files that npm installs."""
    root, cdn = tmp_path / "root", tmp_path / "cdn"
    root.mkdir()
    shutil.copy(ROOT / "package.json", root)
    places = {
        name: re.sub(r"(?<=.)@[\d.]+", "", name)
        for name in json.loads((ROOT / "package.json").read_text())["assets"]
    }
    for name, place in places.items():
        (cdn / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / "node_modules" / place, cdn / name)
    monkeypatch.setenv("PATH", "")
    workbench._assets(root, f"{cdn.as_uri()}/")
    for place in places.values():
        assert (root / "node_modules" / place).read_bytes() == (
            ROOT / "node_modules" / place
        ).read_bytes()
    wanted = re.findall(r'"/vendor/([^"]+)"', "".join(map(to_xml, assets.TAGS)))
    assert set(wanted) <= set(places.values())

    there = root / "node_modules" / places[name]
    there.unlink()
    (cdn / name).write_text("alert(1)")
    with pytest.raises(OSError, match=r"not what package\.json says"):
        workbench._assets(root, f"{cdn.as_uri()}/")
    assert not there.exists()
    (cdn / name).unlink()
    with pytest.raises(OSError):
        workbench._assets(root, f"{cdn.as_uri()}/")

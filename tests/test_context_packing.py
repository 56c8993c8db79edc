"""context/: the pack holds what it says, to the token, and is never over its budget."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context import Identity, count, pack
from repo import Repo
from tests.conftest import run_git

ROOT = Path(__file__).resolve().parent.parent
WHO = Identity("Chip", "Workbench", "gemma3:4b", 131_072)


def test_counts_are_tiktokens_own_and_need_no_network() -> None:
    """# G2"""
    script = (
        "import socket; socket.socket = None\n"
        "from context import count\n"
        "print(count('hello world'), count('<|endoftext|>'))"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.split() == ["2", "7"], run.stderr


def test_our_own_source_fits_whole(git_repo: Callable[..., Path]) -> None:
    """# G1, G3, G4, H1: every source file in full at 128K, the tree lists every file."""
    made = pack(Repo.open(ROOT), 128_000, WHO)
    assert made.encoding == "cl100k_base"
    assert count(made.text) == made.total_tokens <= 128_000
    forms = {file.path: file.form for file in made.files}
    paths = run_git(ROOT, "ls-files", "-z").split("\0")[:-1]
    assert sorted(forms) == sorted(paths)
    for path in paths:
        assert f"\n{path}\n" in made.text
        if path.endswith((".py", ".css", ".js")) and not path.startswith(("tests/", "bench")):
            assert forms[path] == "full", path
            assert (ROOT / path).read_text() in made.text
    start = made.text[:800]
    assert "Chip" in start and "gemma3:4b" in start and "131,072" in start
    assert made.text.index("# Crash course") < made.text.index("===== ")
    above, foot = made.text.removesuffix("\n").rsplit("\n", 1)
    used = count(above)
    assert f" {used:,} of 128,000 tokens used above, {128_000 - used:,} left" in foot


@pytest.mark.parametrize("budget", [1, 60, 500, 2_000, 8_000, 32_000])
def test_the_pack_is_never_over_its_budget(budget: int) -> None:
    """# G5"""
    made = pack(Repo.open(ROOT), budget, WHO, "how are tokens counted?")
    assert count(made.text) == made.total_tokens <= budget


def test_what_changes_most_stands_last(git_repo: Callable[..., Path]) -> None:
    root = git_repo({"busy.py": "n = 0\n", "calm.py": "x = 1\n", "other.py": "y = 2\n"})
    for n in range(3):
        (root / "busy.py").write_text(f"n = {n + 1}\n")
        run_git(root, "commit", "-qam", f"change {n}")
    text = pack(Repo.open(root), 8_000, WHO).text
    assert text.index("===== calm.py") < text.index("===== other.py") < text.index("===== busy.py")


def test_secrets_binaries_and_generated_files_are_named_but_not_shown(
    git_repo: Callable[..., Path],
) -> None:
    root = git_repo(
        {
            "app.py": "x = 1\n",
            ".env": "PASSWORD=hunter2\n",
            "logo.png": b"\x89PNG\0\0secretpixels",
            "package-lock.json": '{"lock": "lockcontent"}',
            "latin.py": "# caf\xe9\n".encode("latin-1"),
        }
    )
    made = pack(Repo.open(root), 8_000, WHO)
    assert {f.path for f in made.files if f.form == "full"} == {"app.py", "latin.py"}
    for hidden in ("hunter2", "secretpixels", "lockcontent"):
        assert hidden not in made.text
    assert "café" in made.text and "\nlogo.png\n" in made.text
    assert "Crash course" not in made.text, "it tells of this program, not of another"


def test_a_repository_without_a_commit_can_be_packed(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "-q")
    (tmp_path / "new.py").write_text("x = 1\n")
    run_git(tmp_path, "add", "new.py")
    assert "x = 1" in pack(Repo.open(tmp_path), 4_000, WHO).text


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
ODD = st.binary(max_size=300).map(lambda data: data.decode("latin-1"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    files=st.dictionaries(NAMES.map(lambda name: f"f{name}"[:40]), ODD, min_size=1, max_size=6),
    budget=st.integers(1, 1_500),
)
def test_any_names_and_bytes_pack_to_an_exact_count(
    files: dict[str, str], budget: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """# G2, G5"""
    root = tmp_path_factory.mktemp("odd")
    for name, text in files.items():
        (root / name).write_bytes(text.encode())
    run_git(root, "init", "-q")
    run_git(root, "add", "-A")
    made = pack(Repo.open(root), budget, WHO)
    assert count(made.text) == made.total_tokens <= budget
    made.text.encode()

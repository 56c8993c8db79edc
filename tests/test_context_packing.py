"""context/: the pack holds what it says, to the token, and is never over its budget."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context import Identity, Steer, count, pack
from context.worth import Worth
from repo import Repo
from shapes import Pack, WorkbenchError
from tests.conftest import run_git

ROOT = Path(__file__).resolve().parent.parent
WHO = Identity("Chip", "Workbench", "gemma3:4b", 131_072)


def exact(made: Pack) -> None:
    """# G2: to the token, and every token is someone's."""
    assert count(made.text) == made.total_tokens <= made.budget_tokens
    assert made.frame_tokens + sum(file.tokens for file in made.files) == made.total_tokens
    assert made.frame_tokens >= 0 and all(file.reason for file in made.files)


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
        assert len(re.findall(rf"^{re.escape(path)}(?:: .*)?$", made.text, re.M)) == 1
        if path.endswith((".py", ".css", ".js")) and not path.startswith(("tests/", "bench")):
            assert forms[path] == "full", path
            assert (ROOT / path).read_text() in made.text
    start = made.text[:800]
    assert "Chip" in start and "gemma3:4b" in start and "131,072" in start
    assert made.text.index("# Crash course") < made.text.index("===== ")
    above, foot = made.text.rsplit("===== window: ", 1)
    used = count(above)
    assert f"{used:,} of 128,000 tokens used above, {128_000 - used:,} left" in foot


@pytest.mark.parametrize("question", ["", "how are tokens counted?"])
def test_the_pack_is_never_over_its_budget_and_leaves_nothing_empty(question: str) -> None:
    """# G2, G5: full to the last line while there is more to tell."""
    whole = 0
    for budget in (1, 60, 500, 2_000, 8_000, 32_000):
        made = pack(Repo.open(ROOT), budget, WHO, question)
        exact(made)
        if budget >= 2_000:
            assert made.total_tokens >= 0.99 * budget
            shown = sum(len(f.path) < f.tokens * 9 for f in made.files if f.form != "path")
            assert shown >= whole, "a larger budget tells of more files"
            whole = shown


def shop() -> dict[str, str]:
    """Forty files of which few fit, and two that a question can be about."""
    steps = "".join(f"    def step_{k}(self):\n        return {k} * self.n\n\n" for k in range(20))
    rooms = {f"shop/room_{n}.py": f"class Room{n}:\n    n = {n}\n\n{steps}" for n in range(40)}
    return rooms | {
        "shop/till.py": f"class Till:\n    n = 0\n\n{steps * 8}{TAKINGS}",
        "night.py": NIGHT,
    }


TAKINGS = "    @staticmethod\n    def countTakings(coins):\n        return sum(coins)\n"
NIGHT = "def close_up(till):\n    return till.countTakings([1])\n"


def test_what_is_asked_for_is_shown_with_its_place_and_its_caller(
    git_repo: Callable[..., Path],
) -> None:
    """# G5"""
    made = pack(Repo.open(git_repo(shop())), 1_500, WHO, "Who is counting the takings?")
    line = shop()["shop/till.py"].splitlines().index("    @staticmethod") + 1
    assert f"[{line} in Till]\n{TAKINGS}" in made.text
    assert f"===== night.py =====\n{NIGHT}" in made.text
    forms = {file.path: file.form for file in made.files}
    assert (forms["shop/till.py"], forms["night.py"]) == ("excerpt", "full")
    assert set(forms.values()) == {"full", "excerpt", "outline", "path"}
    assert re.search(r"^shop/room_\d+\.py: Room\d+, ", made.text, re.M)


def test_a_file_that_the_question_names_is_shown(git_repo: Callable[..., Path]) -> None:
    made = pack(Repo.open(git_repo(shop())), 1_500, WHO, "explain shop/room_31.py")
    assert "===== shop/room_31.py" in made.text


def worths(repo: Repo, question: str) -> dict[str, float]:
    """Of each file's first unit."""
    sources = repo.index.sources()
    worth = Worth(repo, sources, question).scores
    return {path: worth[source.units[0]] for path, source in sources.items()}


def test_a_commit_with_such_a_subject_points_to_its_files(git_repo: Callable[..., Path]) -> None:
    root = git_repo({"a.py": "x = 1\n", "b.py": "x = 1\n"})
    for path, subject in (("a.py", "Paint the ceiling"), ("b.py", "Sweep floors, see #12")):
        (root / path).write_text("x = 2\n")
        run_git(root, "commit", "-qam", subject)
    for question, better, other in (("ceiling leaks", "a.py", "b.py"), ("#12", "b.py", "a.py")):
        worth = worths(Repo.open(root), question)
        assert worth[better] > worth[other] + 0.05


def test_without_a_question_it_tells_what_the_repository_is(git_repo: Callable[..., Path]) -> None:
    """The README, then what people work on."""
    root = git_repo(shop() | {"README.md": "# A shop\n\nIt sells.\n"})
    (root / "night.py").write_text(NIGHT + "\n# late\n")
    run_git(root, "commit", "-qam", "Later")
    worth = worths(Repo.open(root), "")
    assert sorted(worth, key=worth.get)[-2:] == ["night.py", "README.md"]
    assert "It sells." in pack(Repo.open(root), 900, WHO).text


def test_every_process_makes_the_same_text(git_repo: Callable[..., Path]) -> None:
    root = git_repo(shop())
    script = (
        "import sys; from pathlib import Path; from context import Identity, pack\n"
        "from repo import Repo\n"
        "who = Identity('Chip', 'Workbench', 'none', 8_192)\n"
        "print(pack(Repo.open(Path(sys.argv[1])), 2000, who, sys.argv[2]).text)"
    )
    for question in ("", "Who is counting the takings of Room3 and room_7?"):
        texts = {
            subprocess.run(
                [sys.executable, "-c", script, root, question],
                cwd=ROOT,
                env=os.environ | {"PYTHONHASHSEED": seed},
                capture_output=True,
                check=True,
            ).stdout
            for seed in ("1", "2", "3")
        }
        assert len(texts) == 1


def test_what_changes_most_stands_last(git_repo: Callable[..., Path]) -> None:
    root = git_repo({"busy.py": "n = 0\n", "calm.py": "x = 1\n", "other.py": "y = 2\n"})
    for n in range(3):
        (root / "busy.py").write_text(f"n = {n + 1}\n")
        run_git(root, "commit", "-qam", f"change {n}")
    for question in ("", "what is n?"):
        text = pack(Repo.open(root), 8_000, WHO, question).text
        places = [text.index(f"===== {name}.py") for name in ("calm", "other", "busy")]
        assert places == sorted(places)


def test_secrets_binaries_and_generated_files_are_named_but_not_shown(
    git_repo: Callable[..., Path],
) -> None:
    root = git_repo(
        {
            "app.py": "x = 1\n",
            ".env": "PASSWORD=hunter2\n",
            "logo.png": b"\x89PNG\0\0secretpixels",
            "package-lock.json": '{"lock": "lockcontent"}',
            "pinned.txt": "# This file was autogenerated\nlockcontent\n",
            "bundle.js": f"{'x=1;' * 800}lockcontent\n",
            "latin.py": "# caf\xe9\n".encode("latin-1"),
        }
    )
    made = pack(Repo.open(root), 8_000, WHO)
    assert {f.path for f in made.files if f.form == "full"} == {"app.py", "latin.py"}
    for hidden in ("hunter2", "secretpixels", "lockcontent"):
        assert hidden not in made.text
    assert "café" in made.text and "\nlogo.png\n" in made.text
    reasons = {file.path: file.reason for file in made.files}
    assert reasons[".env"] == "path only: secret" and reasons["app.py"] == "everything fits"
    assert reasons["bundle.js"] == reasons["pinned.txt"] == "path only: generated"
    assert reasons["logo.png"].startswith("path only: binary")
    assert "Crash course" not in made.text, "it tells of this program, not of another"


def test_a_repository_without_a_commit_can_be_packed(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "-q")
    (tmp_path / "new.py").write_text("x = 1\n")
    run_git(tmp_path, "add", "new.py")
    assert "x = 1" in pack(Repo.open(tmp_path), 4_000, WHO).text


def test_what_fits_whole_is_the_same_text_for_every_question(git_repo: Callable[..., Path]) -> None:
    """# G1: else a second question could reuse nothing of the first one's prompt."""
    repo = Repo.open(git_repo({"a.py": "def swap(): pass\n", "b.py": "x = 1\n", "c.md": "# C\n"}))
    texts = {pack(repo, 8_000, WHO, question).text for question in ("", "where is swap?", "x")}
    assert len(texts) == 1


def test_forms_can_be_forced(git_repo: Callable[..., Path]) -> None:
    """# G6: a pin comes whatever the question; an outline is signatures; a path has no text."""
    files = shop() | {
        "plan.py": '"""Plan."""\n\nRATE = 3\nrate = 4\n\n\n@cache\ndef find(\n    a: int,\n'
        ') -> int:\n    """Finds it.\n\n    More."""\n    return secret_sauce\n',
        "notes/plan.md": "# Plan\n\nWords.\n\n## Later\n\nmore words\n",
    }
    repo = Repo.open(git_repo(files | {".env": "PASSWORD=hunter2\n"}))
    forms = {"shop/room_9.py": "full", "plan.py": "outline", "notes/plan.md": "outline"}
    steer = Steer(forms=forms | {"night.py": "path", ".env": "full", "gone.py": "full"})
    made = pack(repo, 1_800, WHO, "Who is counting the takings?", steer)
    exact(made)
    found = {file.path: (file.form, file.reason) for file in made.files}
    assert found["shop/room_9.py"] == ("full", "pinned")
    assert f"===== shop/room_9.py =====\n{files['shop/room_9.py']}\n" in made.text
    outline = '(outline)\nRATE = 3\ndef find(\n    a: int,\n) -> int:\n    """Finds it.\n\n'
    assert f"===== plan.py =====\n{outline}" in made.text
    assert "===== notes/plan.md =====\n(outline)\n# Plan\n## Later\n\n" in made.text
    assert found["plan.py"] == ("outline", "pinned")
    assert found["night.py"] == ("path", "path only: you chose so") and NIGHT not in made.text
    assert found[".env"] == ("path", "path only: secret") and "hunter2" not in made.text
    assert "secret_sauce" not in made.text and "More." not in made.text
    with pytest.raises(WorkbenchError, match="pinned"):
        pack(repo, 500, WHO, "", Steer(forms={f"shop/room_{n}.py": "full" for n in range(9)}))


def test_notes_and_attachments_are_told_and_counted(git_repo: Callable[..., Path]) -> None:
    """# G6, L11"""
    repo = Repo.open(git_repo(shop()))
    steer = Steer(
        notes="Always say till.", attached=(("mail\n.txt", "buy milk"), ("b", "x\n" * 9000))
    )
    made = pack(repo, 4_000, WHO, "", steer)
    exact(made)
    assert "# Notes that the person keeps\n\nAlways say till.\n" in made.text
    assert "===== attached: 'mail\\n.txt' =====\nbuy milk\n" in made.text
    places = [made.text.index(it) for it in ("Always", "===== shop/", "# Files", "buy milk")]
    assert places == sorted(places)


def test_a_file_says_truly_why_it_is_shown(git_repo: Callable[..., Path]) -> None:
    """# O4"""
    files = shop() | {"README.md": "# A shop\n"}
    root = git_repo(files)
    (root / "shop/room_7.py").write_text(files["shop/room_7.py"] + "\n# swept\n")
    run_git(root, "commit", "-qam", "Sweep the floor")
    made = pack(Repo.open(root), 1_800, WHO, "Sweep: countTakings in night.py")
    reasons = {file.path: file.reason for file in made.files}
    assert reasons["night.py"] == "named in the question; words: counttakings"
    assert reasons["shop/till.py"].startswith("words: ")
    assert reasons["shop/room_7.py"] == "changed with such subjects; changed lately"
    assert reasons["shop/room_30.py"] == "no room"
    assert "tells what it is about" in pack(Repo.open(root), 1_800, WHO).files[0].reason


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
ODD = st.binary(max_size=300).map(lambda data: data.decode("latin-1"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    files=st.dictionaries(NAMES.map(lambda name: f"f{name}"[:40]), ODD, min_size=1, max_size=6),
    budget=st.integers(1, 1_500),
    question=st.text(max_size=30),
    notes=ODD,
)
def test_any_names_and_bytes_pack_to_an_exact_count(
    files: dict[str, str],
    budget: int,
    question: str,
    notes: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """# G2, G5"""
    root = tmp_path_factory.mktemp("odd")
    for name, text in files.items():
        (root / name).write_bytes(text.encode())
    run_git(root, "init", "-q")
    run_git(root, "add", "-A")
    paths = dict(zip(sorted(files), ["outline", "path"], strict=False))
    steer = Steer(paths, notes, (("a", notes),))
    try:
        made = pack(Repo.open(root), budget, WHO, question, steer)
    except WorkbenchError:  # what is forced alone is too much
        made = pack(Repo.open(root), budget, WHO, question)
    exact(made)
    made.text.encode()

"""context/later.py: what is told after the pack makes its reader know the files as they are."""

from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from context import later
from repo import Repo
from shapes import Message
from tests.conftest import run_git

LONG = "".join(f"line {n}\n" for n in range(60))


def test_nothing_is_told_when_nothing_has_changed() -> None:
    assert later.since({"a.py": "x = 1\n", "b.png": None}, {"a.py": "x = 1\n", "b.png": None}) == ""


def test_a_small_change_is_a_diff_and_a_large_one_the_new_text() -> None:
    told = later.since({"a.py": LONG}, {"a.py": LONG.replace("line 30\n", "line thirty\n")})
    assert "-line 30\n+line thirty\n" in told and "line 3\n" not in told
    told = later.since({"a.py": LONG}, {"a.py": "x = 1\n"})
    assert told == "===== a.py, as it is now =====\nx = 1\n\n"


def test_new_deleted_and_renamed_files_are_told() -> None:
    before = {"a.py": LONG, "gone.py": "gone = 1\n", "empty.py": ""}
    now = {
        "b.py": LONG.replace("30", "thirty"),
        "new.py": "new = 1\n",
        "empty.py": "",
        "n.png": None,
    }
    told = later.since(before, now)
    assert "===== b.py, renamed from a.py, changed =====" in told and "+line thirty" in told
    assert "===== new.py, as it is now =====\nnew = 1\n" in told
    assert "===== gone.py: deleted =====" in told and "a.py: deleted" not in told
    assert "===== n.png: new, or changed; not shown =====" in told and "empty" not in told


TEXTS = st.dictionaries(
    st.sampled_from(["a", "b\n", "c\udcff"]), st.none() | st.text(max_size=40), max_size=3
)


@given(TEXTS, TEXTS)
def test_any_change_is_told_on_lines_of_its_own_and_no_other(
    before: dict[str, str | None], now: dict[str, str | None]
) -> None:
    told = later.since(before, now)
    assert bool(told) == (before != now)
    told.encode()
    if told:
        assert told.startswith("===== ") and told.endswith("\n")


def test_a_snapshot_holds_what_may_be_shown(git_repo: Callable[..., Path]) -> None:
    root = git_repo({"a.py": "x = 1\n", ".env": "S=1\n", "p.png": b"\0", "yarn.lock": "l\n"})
    assert later.snapshot(Repo.open(root)) == {
        ".env": None,
        "a.py": "x = 1\n",
        "p.png": None,
        "yarn.lock": None,
    }


def test_excerpts_are_what_a_question_needs_and_nobody_has_read(
    git_repo: Callable[..., Path],
) -> None:
    functions = "\n\ndef paint():\n    return 'colour'\n\n\ndef fly():\n    return 'wings'\n"
    root = git_repo({"a.py": functions, "b.py": "def sail():\n    return 'colour of wings'\n"})
    run_git(root, "status")
    repo = Repo.open(root)
    told = later.excerpts(repo, "which colour?", "", 1_000, {"b.py"})
    assert told == "===== a.py, line 3 =====\ndef paint():\n    return 'colour'\n"
    assert later.excerpts(repo, "which colour?", told, 1_000, {"b.py"}) == "", "it is known"
    assert later.excerpts(repo, "which colour?", "", 5, ()) == "", "it is too long"


def talk(*sizes: int) -> list[Message]:
    """Turns: a question, and an answer of so many words."""
    turns = ((f"question {n}", f"answer {n} " + "word " * size) for n, size in enumerate(sizes))
    return [
        Message(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn)
    ]


def test_all_of_a_talk_stays_while_there_is_room() -> None:
    history = talk(5, 5, 5)
    assert later.talk(history, Message("user", "now"), 300) == [*history, Message("user", "now")]


def test_old_turns_leave_whole_and_a_line_tells_of_each() -> None:
    """# A17, A18"""
    history = talk(100, 100, 100, 100, 100)
    kept = later.talk(history, Message("user", "now"), 500)
    assert kept[:2] == history[:2], "the first question and its answer never fall out"
    assert kept[2].content == (
        "(left out: 'question 1' …)\n(left out: 'question 2' …)\n(left out: 'question 3' …)\n"
        "question 4"
    )
    assert kept[3:] == [history[-1], Message("user", "now")]


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(0, 3_000), st.text(max_size=200))
def test_a_talk_never_takes_more_than_its_room(sizes: list[int], room: int, said: str) -> None:
    """# A17: in order, the question last."""
    history, question = talk(*sizes), Message("user", said)
    kept = later.talk(history, question, room + later.size(question))
    assert later.size(*kept) <= room + later.size(question) + 1  # a joint of lines
    assert kept[-1].content.endswith(said)
    places = [history.index(message) for message in kept[:-1] if message in history]
    assert places == sorted(places)

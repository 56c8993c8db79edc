"""chat/briefing.py: a discussion keeps the pack it began with; what changes is told after it."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from chat import Chat
from context import count
from tests.conftest import run_git
from tests.ollama_server import OllamaServer, too_long
from tests.running import ROOT
from tests.test_chat_desk import make_chat, turn

MANY = "".join(f"def function_{n}():\n    return {n}\n\n\n" for n in range(200))


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        yield server


@pytest.fixture
def root(git_repo: Callable[..., Path]) -> Path:
    return git_repo({"app.py": MANY, "other.py": "y = 1\n"})


def ask(chat: Chat, text: str) -> None:
    """In the one discussion that goes on."""
    chat.settings["n"] = chat.settings.get("n", 0) + 1
    numbers = [row["id"] for row in chat.discussions.all()]
    start = chat.discussions.start
    chat.discussions.start = lambda: numbers[0] if numbers else start()
    rows = turn(chat, text)
    assert rows[-1]["status"] == "done", rows[-1]["note"]


def requests(server: OllamaServer) -> list[list[str]]:
    return [[m["content"] for m in request.body["messages"]] for request in server.chats]


def test_every_request_goes_on_from_the_one_before_whatever_changes(
    server: OllamaServer, root: Path, tmp_path: Path
) -> None:
    """# A16: commits, saved, new, renamed and deleted files, a restart: the beginning stays."""
    chat = make_chat(root, tmp_path, server.url)
    ask(chat, "first")
    (root / "app.py").write_text(MANY.replace("return 7\n", "return 77\n"))
    run_git(root, "commit", "-qam", "seven")
    ask(chat, "second")
    ask(chat, "third")
    run_git(root, "mv", "other.py", "moved.py")
    (root / "new.py").write_text("z = 3\n")
    run_git(root, "add", "new.py")
    chat = make_chat(root, tmp_path, server.url)
    ask(chat, "fourth")
    (root / "moved.py").unlink()
    run_git(root, "rm", "-q", "--cached", "moved.py")
    ask(chat, "fifth")
    sent = requests(server)
    for before, now in pairwise(sent):
        assert now[: len(before)] == before and len(now) == len(before) + 2
    assert sent[0][1] == "first" and sent[2][-1] == "third", "nothing is told twice"
    assert "-    return 7\n+    return 77\n" in sent[1][-1] and sent[1][-1].endswith("second")
    assert "moved.py, renamed from other.py" in sent[3][-1] and "z = 3" in sent[3][-1]
    assert "moved.py: deleted" in sent[4][-1]


def test_the_pack_is_renewed_when_too_much_has_changed(
    server: OllamaServer, root: Path, tmp_path: Path
) -> None:
    chat = make_chat(root, tmp_path, server.url)
    ask(chat, "first")
    (root / "app.py").write_text(MANY.replace("return", "yield"))
    ask(chat, "second")
    _, second = requests(server)
    assert "yield 7" in second[0] and "return 7" not in second[0]
    assert second[1:] == ["first", "Hello from the scripted model.", "second"]


@pytest.mark.parametrize("what", ["window", "steering", "request"])
def test_another_window_steering_or_a_wish_renews_the_pack(
    server: OllamaServer, root: Path, tmp_path: Path, what: str
) -> None:
    chat = make_chat(root, tmp_path, server.url)
    ask(chat, "first")
    (root / "other.py").write_text("y = 2\n")
    match what:
        case "window":
            chat.settings["window_tokens"] = 65_536
        case "steering":
            chat.settings["shown_as"] = {"app.py": "path"}
        case "request":
            chat.settings.insert("briefing", discussion=1)
    ask(chat, "second")
    _, second = requests(server)
    assert "y = 2" in second[0] and second[-1] == "second"
    assert ("return 7" in second[0]) == (what != "steering")


def test_what_a_person_says_to_remember_is_noted_and_reaches_the_discussion(
    server: OllamaServer, root: Path, tmp_path: Path
) -> None:
    """# L11: by a part that is told later, by the next pack, and in the page's own words."""
    chat = make_chat(root, tmp_path, server.url)
    ask(chat, "first")
    server.say("Please remember that I am the model.")
    ask(chat, "Remember that tabs are\nforbidden here.")
    ask(chat, "do you remember that?")
    assert (tmp_path / "notes.md").read_text() == "- tabs are forbidden here.\n"
    answer = chat.discussions.messages(1)[3]
    assert answer["note"].startswith("Noted")
    first, second, third = requests(server)
    assert "tabs are forbidden" not in first[0] and "tabs are forbidden" in second[-1]
    assert third[:4] == second and third[-1] == "do you remember that?"
    assert "tabs are forbidden" in chat.briefing.pack("any", 32_768)["text"]


def test_a_kept_request_is_what_was_sent(server: OllamaServer, root: Path, tmp_path: Path) -> None:
    """# O4"""
    chat = make_chat(root, tmp_path, server.url)
    for text in ("first", "second"):
        ask(chat, text)
    for row, request in zip(chat.discussions.messages(1)[1::2], server.chats):
        facts = json.loads(row["facts"])
        sent = chat.briefing.sent("id", facts["briefing"])["messages"][: facts["sent"]]
        assert sent == [[m["role"], m["content"]] for m in request.body["messages"]]
        assert json.loads(facts["request"])["options"] == request.body["options"]


def test_a_question_outside_a_discussion_keeps_nothing(
    server: OllamaServer, root: Path, tmp_path: Path
) -> None:
    import asyncio

    chat = make_chat(root, tmp_path, server.url)

    async def listen() -> list:
        return [piece async for piece in chat.reply("hello")]

    assert asyncio.run(listen())
    assert chat.settings.rows("SELECT * FROM briefing") == []


def test_a_model_that_counts_otherwise_gets_less_at_the_second_try(
    git_repo: Callable[..., Path], tmp_path: Path
) -> None:
    """# L3: the refusal of a prompt that is too long is learned from, once."""
    root = git_repo({f"f{n}.txt": "words of a text\n" * 40 for n in range(60)})
    with OllamaServer() as server:
        chat = make_chat(root, tmp_path, server.url)
        chat.settings["window_tokens"] = 8_192
        server.say(status=400, error=too_long(8_400, 8_192))
        ask(chat, "first")
        first, second = (len(request.raw) for request in server.chats)
    assert 0.5 * first < second < 0.8 * first


def test_a_question_that_is_too_long_is_refused_in_words(
    server: OllamaServer, root: Path, tmp_path: Path
) -> None:
    chat = make_chat(root, tmp_path, server.url)
    chat.settings["window_tokens"] = 8_192
    *_, answer = turn(chat, "word " * 4_000)
    assert answer["status"] in ("failed", "done") and "has 4,00" in answer["note"]
    assert server.chats == []


def test_at_least_two_fifths_of_the_window_are_left_beside_our_own_source(
    server: OllamaServer, tmp_path: Path
) -> None:
    """# A18, G1"""
    told = make_chat(ROOT, tmp_path, server.url).briefing.pack("gemma3:4b", 131_072)
    assert count(told["text"]) <= 0.6 * 131_072
    assert sum(it["form"] == "full" for it in told["files"]) > 40

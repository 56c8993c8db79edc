"""chat/: one turn from question to stored answer, with a real server behind the model."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chat import Chat, Choice, Discussions
from context import count
from models import BuiltIn, Ollama
from repo import Repo
from shapes import Finish
from state import State
from tests.ollama_server import OllamaServer

DIFF = "Here.\n\n```diff\n--- a/app.py\n+++ b/app.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n```\n"


def make_chat(root: Path, home: Path, url: str) -> Chat:
    repo, state = Repo.open(root), State(home)
    built_in = BuiltIn(repo.index, lambda kind, **how: ("", []), "Chip")
    return Chat(repo, Choice(state, Ollama(url), built_in), Discussions(state), "Workbench")


@pytest.fixture
def chat(git_repo: Callable[..., Path], tmp_path: Path) -> Chat:
    """A desk with no Ollama behind it."""
    return make_chat(git_repo({"app.py": "x = 1\n"}), tmp_path, "http://127.0.0.1:9")


def turn(chat: Chat, *texts: str, keys: bool = True) -> list:
    """Say something and wait for the stored answers; returns the discussion's messages."""

    async def run() -> int:
        discussion = chat.discussions.start()
        for number, text in enumerate(texts):
            chat.say(discussion, text, f"{number} {text}" if keys else "the same key")
        while chat.busy():
            await asyncio.sleep(0)
        return discussion

    return chat.discussions.messages(asyncio.run(run()))


def test_a_question_is_answered_and_stored(chat: Chat) -> None:
    """# A12, A6: with no model at all."""
    question, answer = turn(chat, "what is in file app.py?")
    assert (question["role"], question["content"]) == ("user", "what is in file app.py?")
    assert (answer["role"], answer["status"], answer["model"]) == ("assistant", "done", "built-in")
    assert "app.py:1" in answer["content"]


def test_the_same_key_is_the_same_message_sent_twice(chat: Chat) -> None:
    assert len(turn(chat, "hello", "hello", keys=False)) == 2


def test_questions_are_answered_one_after_the_other(chat: Chat) -> None:
    rows = turn(chat, "hello", "what changed lately?")
    assert [row["role"] for row in rows].count("assistant") == 2
    assert all(row["status"] == "done" for row in rows)


def test_an_edit_becomes_a_proposal_and_changes_no_file(
    git_repo: Callable[..., Path], tmp_path: Path
) -> None:
    """# J1, J12"""
    root = git_repo({"app.py": "x = 1\n"})
    with OllamaServer() as server:
        server.say(DIFF)
        chat = make_chat(root, tmp_path, server.url)
        *_, answer = turn(chat, "make it two")
        (proposal,) = chat.discussions.proposals(message=answer["id"])
    assert proposal["status"] == "open" and "+x = 2" in proposal["detail"]
    assert (root / "app.py").read_text() == "x = 1\n"
    facts = json.loads(answer["facts"])
    assert facts["prompt_tokens"] > 0 and facts["digest"]


def test_a_reply_that_is_not_whole_is_never_offered(
    git_repo: Callable[..., Path], tmp_path: Path
) -> None:
    """# L1: no `done` line means incomplete."""
    with OllamaServer() as server:
        server.say(DIFF, end="silent")
        chat = make_chat(git_repo({"app.py": "x = 1\n"}), tmp_path, server.url)
        *_, answer = turn(chat, "make it two")
    assert answer["status"] == "interrupted" and answer["note"]
    assert chat.discussions.proposals(message=answer["id"]) == []


def test_the_prompt_keeps_its_beginning_and_fits_the_window(
    git_repo: Callable[..., Path], tmp_path: Path
) -> None:
    """# L3, A16, A17, A18: the pack, the first question and its answer, the newest turns; a line
    for each turn that is left out; most requests go on from the one before."""
    with OllamaServer() as server:
        asked = [f"{number}. question" for number in range(14)]
        for number in range(len(asked)):
            server.say(f"answer {number} " + "word " * 600)
        chat = make_chat(git_repo({"app.py": "x = 1\n"}), tmp_path, server.url)
        chat.choice.settings["window_tokens"] = 8_192
        rows = turn(chat, *asked)
        sent = [request.body for request in server.chats]
    assert all(row["status"] == "done" for row in rows) and len(rows) == 28, "all is shown"
    assert [body["options"]["num_ctx"] for body in sent] == [8_192] * len(asked)
    went_on = 0
    for number, (body, question) in enumerate(zip(sent, asked)):
        texts = [message["content"] for message in body["messages"]]
        assert texts[0] == sent[0]["messages"][0]["content"]
        assert texts[-1].endswith(question)
        assert sum(map(count, texts)) + body["options"]["num_predict"] <= 8_192
        if number:
            assert [text[:9] for text in texts[1:3]] == ["0. questi", "answer 0 "]
            before = sent[number - 1]["messages"]
            went_on += body["messages"][: len(before)] == before
    assert went_on > 8
    left_out = ["(left out: '1. question' …)", "(left out: '2. question' …)"]
    assert texts[3].splitlines()[:2] == left_out, "old turns leave whole, oldest first"


def test_a_chosen_model_that_is_gone_is_told_and_the_built_in_answers(chat: Chat) -> None:
    """# L1, L2"""
    chat.choice.settings["model"] = "gemma3:4b"
    *_, answer = turn(chat, "hello")
    assert answer["model"] == "built-in" and "not running" in answer["note"]
    menu = asyncio.run(chat.choice.menu())
    assert menu.chosen == "built-in" and "not running" in menu.notice


def test_a_model_made_for_less_is_warned_about(
    git_repo: Callable[..., Path], tmp_path: Path
) -> None:
    """# L3"""
    from tests.ollama_server import FakeModel

    with OllamaServer([FakeModel("small:1b", trained_window=4_096)]) as server:
        chat = make_chat(git_repo({"app.py": "x = 1\n"}), tmp_path, server.url)
        assert "4,096" in asyncio.run(chat.choice.menu()).notice
        speaker, _ = asyncio.run(chat.choice.speaker())
        assert speaker.window_tokens == 4_096


def test_a_reply_of_a_dead_process_is_marked_and_its_words_stay(chat: Chat) -> None:
    """# A19"""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    discussion = chat.discussions.start()
    dead = chat.discussions.add(discussion, "assistant", "half a", status="streaming")
    mine = chat.discussions.add(discussion, "assistant", "still", status="streaming")
    chat.discussions.state.amend("message", dead, pid=gone.pid)
    chat.discussions.mend()
    status = {row["id"]: (row["content"], row["status"]) for row in chat.discussions.messages(1)}
    assert status == {dead: ("half a", "interrupted"), mine: ("still", "streaming")}
    assert chat.discussions.message(mine)["pid"] == os.getpid()


def test_a_failure_of_the_program_itself_does_not_leave_a_question_hanging(chat: Chat) -> None:
    class Broken:
        def files(self) -> list[str]:
            raise RuntimeError("boom")

    built_in = replace(chat.choice.built_in, library=Broken())
    chat.choice = replace(chat.choice, built_in=built_in)
    *_, answer = turn(chat, "list the files")
    assert answer["status"] == "failed" and "The program failed" in answer["note"]


def test_an_answer_names_its_sources(chat: Chat) -> None:
    """# I2"""
    assert chat.sources("see app.py:1, app.py:1 and no.py:3") == ("app.py:1",)


def test_a_reply_can_be_had_without_a_discussion(chat: Chat) -> None:
    async def run() -> list:
        return [piece async for piece in chat.reply("hello")]

    assert isinstance(asyncio.run(run())[-1], Finish)


def test_a_models_better_form_is_asked_for_and_the_beginning_stays(
    git_repo: Callable[..., Path], tmp_path: Path
) -> None:
    """# L3: what works is recorded for each model; the pack is the same with and without a wish."""
    with OllamaServer() as server:
        for reply in (DIFF, "No edit here.", DIFF.replace("x = 1", "y = 1"), "Yes.", "Yes."):
            server.say(reply)
        root = git_repo({"app.py": "x = 1\n"})
        chat = make_chat(root, tmp_path, server.url)
        *_, answer = turn(chat, "make it two", "talk", "again")
        facts = json.loads(answer["facts"])
        assert facts["commit"] == Repo.open(root).head()
        assert chat.choice.settings["forms"] == {facts["digest"]: {"diff": [1, 2]}}
        forms = {"diff": [1, 2], "search/replace": [2, 2], "file": [2, 3]}
        chat.choice.settings["forms"] = {facts["digest"]: forms}
        turn(chat, "now")
        forms["file"] = [0, 3]
        chat.choice.settings["forms"] = {facts["digest"]: forms}
        turn(chat, "then")
        sent = [request.body["messages"] for request in server.chats]
    assert sent[2][-1]["content"] == "again" and sent[4][-1]["content"] == "then"
    assert "whole file" in sent[3][-1]["content"] and sent[3][-1]["content"].endswith("\n\nnow")
    assert len({messages[0]["content"] for messages in sent}) == 1


def test_words_without_an_edit_are_no_proposal(
    git_repo: Callable[..., Path], tmp_path: Path
) -> None:
    with OllamaServer() as server:
        server.say("Use `app.py`:\n\n```\n- one\n- two\n```\n")
        chat = make_chat(git_repo({"app.py": "x = 1\n"}), tmp_path, server.url)
        *_, answer = turn(chat, "make it two")
    assert answer["status"] == "done"
    assert chat.discussions.proposals(message=answer["id"]) == []

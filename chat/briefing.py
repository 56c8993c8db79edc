"""What a model is sent: the repository as it was packed once, the discussion, the question last.

Knows nothing of replies. Invariants: it fits the window; and until the pack is renewed, a request
begins byte for byte with the one before it in its discussion, so that a model server reads only
the rest.
"""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from context import Identity, Steer, count, later, pack
from repo import Repo
from shapes import Message, Model
from state import State

ASSISTANT = "Chip O'Theseus"
REPLY_TOKENS = 8_192
PACK_SHARE = 0.64  # of the window less the reply: 0.6 of 128K; the rest is for talk
PACK_MOST = 0.9  # of what the model can take, with the first question and its answer
RENEW_SHARE = 0.2  # of the pack may be told after it (benchmarks/prompt_cache.py)
EXCERPT_SHARE = 0.02  # of the pack, for one question
NOTES = "//notes"  # no path is written so
REMEMBER = re.compile(r"(?:please,? )?remember(?: that\b|:)(.+)", re.I | re.S)


def room(window_tokens: int) -> int:
    """How many tokens of a window are for the prompt."""
    return window_tokens - min(REPLY_TOKENS, window_tokens // 4)


class Briefing:
    def __init__(self, repo: Repo, state: State, app_name: str) -> None:
        self.repo, self.state, self.app_name = repo, state, app_name
        self.notes = state.folder / "notes.md"
        self.notes.touch()

    def steer(self) -> Steer:
        forms, attached = self.state.get("shown_as", {}), self.state.get("attached", {})
        return Steer(forms, self.notes.read_text(), tuple(attached.items()))

    def remember(self, said: str) -> str:
        """Note what a person asks to remember, and say so."""
        if not (found := REMEMBER.fullmatch(said)):
            return ""
        with self.notes.open("a") as file:
            file.write(f"- {' '.join(found[1].split())}\n")
        return "Noted; the notes stand on the Context page. "

    def pack(self, name: str, window: int, question: str = "", budget: int = 0) -> dict[str, Any]:
        """As JSON. Without a question the same for all discussions with a model."""
        who = Identity(ASSISTANT, self.app_name, name, window)
        budget = budget or int(PACK_SHARE * room(window))
        return asdict(pack(self.repo, budget, who, question, self.steer()))

    def key(self, speaker: Model) -> str:
        """What a pack is made for, beside the repository."""
        steer = self.steer()
        return json.dumps([speaker.name, speaker.window_tokens, steer.forms, steer.attached])

    def sent(self, column: str, value: int) -> dict[str, Any] | None:
        """The newest of a `discussion`, or by `id`: each request begins its `messages`."""
        sql = f"SELECT * FROM briefing WHERE {column} = ? ORDER BY id DESC LIMIT 1"
        for row in self.state.rows(sql, value):
            if row["sent"]:  # else it is to be renewed
                return json.loads(zlib.decompress(row["sent"])) | {"id": row["id"]}
        return None

    def compose(
        self,
        speaker: Model,
        usable: int,
        wish: str,
        text: str,
        history: Sequence[Message],
        discussion: int,
    ) -> tuple[list[Message], dict[str, Any]]:
        """What to send, within `usable` tokens, and where it is kept; 0 is no discussion."""
        question, steer, key = Message("user", wish + text), self.steer(), self.key(speaker)
        now = later.snapshot(self.repo) | {NOTES: steer.notes}
        sent = self.sent("discussion", discussion)
        goes_on = sent and sent["key"] == key and sent["said"] <= len(history)
        if goes_on:
            told, row = sent["pack"], sent["id"]
            news = later.since(sent["shown"], _seen(now, told))
            messages = [*(Message(*each) for each in sent["messages"]), *history[sent["said"] :]]
            known = "\n".join([*(message.content for message in messages), news])
            clear = {it["path"] for it in told["files"] if it["form"] == "full"} | {*steer.forms}
            few = EXCERPT_SHARE * told["total_tokens"]
            news += later.excerpts(self.repo, text, known, few, clear)
            head = news and "What has changed since, or belongs to the question:\n\n"
            messages.append(Message("user", head + news + question.content))
            later_tokens = sent["later_tokens"] + count(news)
            goes_on = later_tokens <= RENEW_SHARE * told["total_tokens"]
        if not goes_on or later.size(*messages) > usable:
            most = max(PACK_MOST * usable - later.size(question, *history[:2]), usable / 4)
            budget = int(min(PACK_SHARE * room(speaker.window_tokens), most))
            told = self.pack(speaker.name, speaker.window_tokens, text, budget)
            talk = later.talk(history, question, usable - told["total_tokens"] - 16)
            row, later_tokens, messages = None, 0, [Message("system", told["text"]), *talk]
        if discussion:
            values = {"key": key, "said": len(history) + 1, "later_tokens": later_tokens}
            values |= {"pack": told, "shown": _seen(now, told)}
            values["messages"] = [(message.role, message.content) for message in messages]
            sql = "INSERT OR REPLACE INTO briefing VALUES (?, ?, ?) RETURNING id"
            data = zlib.compress(json.dumps(values).encode())
            row = self.state.rows(sql, row, discussion, data)[0]["id"]
        return messages, {"briefing": row, "sent": len(messages)}


def _seen(now: later.Texts, told: dict[str, Any]) -> later.Texts:
    """What the model has seen: of some files the name alone."""
    return now | dict.fromkeys(it["path"] for it in told["files"] if it["form"] == "path")

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

from context import Identity, Steer, count, later, pack
from repo import Repo
from shapes import Message, Model, Pack, PackedFile, frozen
from state import State

ASSISTANT = "Chip O'Theseus"
REPLY_TOKENS = 8_192
PACK_SHARE = 0.6  # of the window less the reply; the rest is for talk, and for other tokenizers
PACK_MOST = 0.9  # of what the model can take, with the first question and its answer
RENEW_SHARE = 0.25  # of the pack may be told after it (benchmarks/prompt_cache.py)
EXCERPT_SHARE = 0.02  # of the pack, for one question
NOTES = "//notes"  # no path is written so
REMEMBER = re.compile(r"(?:please,? )?remember(?: that\b|:)(.+)", re.I | re.S)


@frozen
class Sent:
    """All requests with one pack: each is a beginning of `messages`."""

    key: str  # of what the pack was made for
    said: int  # how many messages of the discussion are told, or were left out
    messages: list[Message]
    shown: dict[str, str | None]  # the texts that the model has seen, by path
    later_tokens: int  # of what was told after the pack
    pack: Pack


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

    def pack(self, name: str, window: int, question: str = "", most: float = 1e9) -> Pack:
        """The same for all discussions with a model, as far as `most` tokens allow."""
        who = Identity(ASSISTANT, self.app_name, name, window)
        budget = int(min(PACK_SHARE * room(window), most))
        return pack(self.repo, budget, who, question, self.steer())

    def sent(self, column: str, value: int) -> tuple[int | None, Sent | None]:
        """The newest with an `id`, or of a `discussion`."""
        sql = f"SELECT * FROM briefing WHERE {column} = ? ORDER BY id DESC LIMIT 1"
        for row in self.state.rows(sql, value):
            if not row["sent"]:  # to be renewed
                break
            values = json.loads(zlib.decompress(row["sent"]))
            values["messages"] = [Message(**message) for message in values["messages"]]
            files = tuple(PackedFile(**file) for file in values["pack"]["files"])
            values["pack"] = Pack(**values["pack"] | {"files": files})
            return row["id"], Sent(**values)
        return None, None

    def key(self, speaker: Model) -> str:
        steer = self.steer()
        return json.dumps([speaker.name, speaker.window_tokens, steer.forms, steer.attached])

    def compose(
        self,
        speaker: Model,
        usable: int,
        wish: str,
        text: str,
        history: Sequence[Message],
        discussion: int,
    ) -> tuple[list[Message], dict[str, object]]:
        """What to send, within `usable` tokens, and where it is kept; 0 is no discussion."""
        question, steer, key = Message("user", wish + text), self.steer(), self.key(speaker)
        now = later.snapshot(self.repo) | {NOTES: steer.notes}
        row, sent = self.sent("discussion", discussion)
        goes_on = sent and sent.key == key and sent.said <= len(history)
        if goes_on:
            told = sent.pack
            named = {path for path, it in sent.shown.items() if it is None}  # and no more than that
            shown = {path: None if path in named else it for path, it in now.items()}
            messages = [*sent.messages, *history[sent.said :]]
            news = later.since(sent.shown, shown)
            known = "\n".join([*(message.content for message in messages), news])
            few, files = EXCERPT_SHARE * told.total_tokens, told.files
            clear = {it.path for it in files if it.form == "full" or it.path in steer.forms}
            news += later.excerpts(self.repo, text, known, few, clear)
            head = news and "What has changed since, or belongs to the question:\n\n"
            messages.append(Message("user", head + news + question.content))
            tokens = sent.later_tokens + count(news)
            goes_on = tokens <= RENEW_SHARE * told.total_tokens and later.size(*messages) <= usable
        if not goes_on:
            most = max(PACK_MOST * usable - later.size(question, *history[:2]), usable / 4)
            told = self.pack(speaker.name, speaker.window_tokens, text, most)
            named = {file.path for file in told.files if file.form == "path"}
            shown = {path: None if path in named else it for path, it in now.items()}
            talk = later.talk(history, question, usable - told.total_tokens - 16)
            row, tokens, messages = None, 0, [Message("system", told.text), *talk]
        if discussion:
            sent = Sent(key, len(history) + 1, messages, shown, tokens, told)
            data = zlib.compress(json.dumps(asdict(sent)).encode())
            sql = "INSERT OR REPLACE INTO briefing VALUES (?, ?, ?) RETURNING id"
            row = self.state.rows(sql, row, discussion, data)[0]["id"]
        return messages, {"briefing": row, "sent": len(messages)}

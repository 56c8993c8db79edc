"""One turn: from a question to a stored answer and, where it holds an edit, a proposal.

Knows nothing of pages; whoever wants to watch gives a `publish`. Invariants: the question is stored
before a model is asked, the reply while it streams; and no words of a model change a file: an edit
becomes a proposal that waits for a person.
"""

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from chat.choice import Choice
from chat.discussions import Discussions
from context import Identity, count, pack
from models import Calibration, PromptTooLong
from patches import find, preview
from repo import Repo
from shapes import Finish, Message, Model, Pack, Piece, Prompt, Verdict, WorkbenchError

ASSISTANT = "Chip O'Theseus"
REPLY_TOKENS = 8_192
PACK_SHARE = 0.6  # of what the window leaves for the prompt; the rest is for talk
SAVE_EVERY_S = 0.3
CITED = re.compile(r"([\w./-]{1,200}\.\w{1,10}):(\d{1,7})")


@dataclass(frozen=True)
class Event:
    """Something that a watcher of a discussion can show."""

    discussion: int
    kind: Literal["message", "piece", "phase", "menu"]
    message: int = 0
    text: str = ""


class Reply:
    """One answer as it comes: iterate over it; then `speaker`, `pack` and `notice` tell whose it is
    and what it was told."""

    def __init__(self, chat: "Chat", question: str, history: list[Message], wanted: str) -> None:
        self.chat, self.question, self.history, self.wanted = chat, question, history, wanted
        self.speaker: Model = chat.choice.built_in
        self.pack: Pack | None = None
        self.notice = ""

    async def __aiter__(self) -> AsyncIterator[Piece | Finish]:
        self.speaker, self.notice = await self.chat.choice.speaker(self.wanted)
        shrink, spoken = 1.0, False
        while True:
            try:
                prompt = await asyncio.to_thread(self._prompt, shrink)
                async with aclosing(self.speaker.stream(prompt)) as stream:
                    async for piece in stream:
                        spoken = spoken or (isinstance(piece, Piece) and piece.kind == "text")
                        if isinstance(piece, Finish):
                            self.chat.learn(self.speaker, prompt, piece)
                            piece = replace(piece, note=f"{self.notice} {piece.note}".strip())
                        yield piece
                return
            except PromptTooLong as error:
                # once, by what the server counted and a little more
                if shrink < 1 or spoken:
                    raise
                shrink = min(
                    0.9, 0.9 * (prompt.window_tokens - prompt.reply_tokens) / error.prompt_tokens
                )
            except WorkbenchError as error:
                if spoken or self.wanted or self.speaker is self.chat.choice.built_in:
                    raise
                self.notice = f"{error.message} {error.hint} The built-in engine answers instead."
                self.speaker = self.chat.choice.built_in

    def _prompt(self, shrink: float) -> Prompt:
        """Stable text first: the pack, the discussion so far, the question last."""
        question = Message("user", self.question)
        window = self.speaker.window_tokens
        if self.speaker is self.chat.choice.built_in:  # reads the repository itself
            return Prompt((question,), window, window, 0)
        usable = int(self.chat.usable(self.speaker) * shrink)
        asked = count(self.question) + 16
        if asked > usable * (1 - PACK_SHARE):
            raise WorkbenchError(
                f"The question has {asked:,} tokens; {self.speaker.name} can take {window:,}.",
                "Shorten it, or choose a larger window.",
            )
        self.pack = self.chat.packed(self.speaker, usable, self.question)
        room = usable - self.pack.total_tokens - asked
        kept: list[Message] = []
        for message in reversed(self.history):
            room -= count(message.content) + 16  # a chat template's marks around each message
            if room < 0:
                break
            kept.insert(0, message)
        messages = (Message("system", self.pack.text), *kept, question)
        total = sum(count(message.content) + 4 for message in messages)
        return Prompt(messages, window, reply_tokens(window), total)


def reply_tokens(window_tokens: int) -> int:
    return min(REPLY_TOKENS, window_tokens // 4)


class Chat:
    """The desk where questions are taken; keeps the running turns."""

    def __init__(self, repo: Repo, choice: Choice, discussions: Discussions, app_name: str) -> None:
        self.repo = repo
        self.choice = choice
        self.discussions = discussions
        self.app_name = app_name
        self.publish: Callable[[Event], None] = lambda event: None
        self._turns: dict[int, tuple[asyncio.Task[None], int]] = {}
        self._queue: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    # -- words ---------------------------------------------------------------------------------

    def reply(self, question: str, history: list[Message] | None = None, model: str = "") -> Reply:
        """An answer that is not stored anywhere."""
        return Reply(self, question, history or [], model)

    def usable(self, speaker: Model) -> int:
        """How many of our tokens a prompt may have: the window less the reply, calibrated."""
        window = speaker.window_tokens
        return int((window - reply_tokens(window)) / self.ratio(speaker))

    def packed(self, speaker: Model, usable: int, question: str = "") -> Pack:
        """What a model is told before the talk begins, in its share of the usable tokens."""
        budget_tokens = int(usable * PACK_SHARE)
        identity = Identity(ASSISTANT, self.app_name, speaker.name, speaker.window_tokens)
        return pack(self.repo, budget_tokens, identity, question)

    def ratio(self, speaker: Model) -> float:
        """How many of the model's own tokens one of ours is, learned from its replies."""
        return self._calibration().ratio(speaker.digest)

    def learn(self, speaker: Model, prompt: Prompt, finish: Finish) -> None:
        if speaker is self.choice.built_in or not finish.prompt_tokens:
            return
        calibration = self._calibration()
        calibration.learn(speaker.digest, prompt.estimate_tokens, finish.prompt_tokens)
        self.choice.settings["calibration"] = calibration.values

    def _calibration(self) -> Calibration:
        return Calibration(self.choice.settings.get("calibration") or {})

    def sources(self, answer: str) -> tuple[str, ...]:
        """The places in the repository that an answer names."""
        known = set(self.repo.files())
        found = (match for match in CITED.finditer(answer) if match[1] in known)
        return tuple(dict.fromkeys(match[0] for match in found))

    # -- turns ---------------------------------------------------------------------------------

    def busy(self, discussion: int | None = None) -> bool:
        """Whether a reply is being written now, in one discussion or in any."""
        return any(discussion in (None, each) for _, each in self._turns.values())

    def say(self, discussion: int, text: str, key: str | None = None) -> None:
        """Take a person's message: store it and let the model answer. A key that was seen before
        is the same message sent twice, and is not taken again."""
        message = self.discussions.add(discussion, "user", text, key=key)
        if message is None:
            return
        self.publish(Event(discussion, "message", message))
        task = asyncio.create_task(self._turn(discussion, message))
        self._turns[message] = task, discussion
        task.add_done_callback(lambda _: self._turns.pop(message))

    def tell(self, discussion: int, text: str) -> None:
        """Add a line of the program's own."""
        message = self.discussions.add(discussion, "system", text)
        self.publish(Event(discussion, "message", message or 0))

    def stop(self, discussion: int) -> None:
        """End the reply that is being written in this discussion; its words stay."""
        for task, each in self._turns.values():
            if each == discussion:
                task.cancel()

    async def _turn(self, discussion: int, question: int) -> None:
        async with self._queue[discussion]:  # a question waits for the answer before it
            answer = self.discussions.add(discussion, "assistant", "", status="streaming")
            assert answer is not None  # it has no key
            self.publish(Event(discussion, "message", answer))
            parts: list[str] = []
            history = self._history(discussion, before=question)
            reply = self.reply(self.discussions.message(question)["content"], history)
            status, note, finish, saved = "done", "", None, time.monotonic()
            try:
                async with aclosing(reply.__aiter__()) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Finish):
                            finish = piece
                        elif piece.kind == "text":
                            parts.append(piece.text)
                            self.publish(Event(discussion, "piece", answer, piece.text))
                        else:
                            self.publish(Event(discussion, "phase", answer, piece.text))
                        if parts and time.monotonic() - saved > SAVE_EVERY_S:
                            self._save(answer, content="".join(parts), model=reply.speaker.name)
                            saved = time.monotonic()
                note = finish.note if finish else ""
                status = "done" if finish and finish.reason == "stop" else "interrupted"
            except asyncio.CancelledError:
                status, note = "stopped", "You stopped this reply."
            except WorkbenchError as error:
                status, note = "failed", str(error)
            text = "".join(parts)
            facts = {
                "digest": reply.speaker.digest,
                "window_tokens": reply.speaker.window_tokens,
                "pack_tokens": reply.pack.total_tokens if reply.pack else None,
                "prompt_tokens": finish.prompt_tokens if finish else None,
                "reply_tokens": finish.reply_tokens if finish else None,
            }
            self._save(
                answer,
                content=text,
                status=status,
                note=note,
                model=reply.speaker.name,
                facts=json.dumps(facts),
            )
            if status == "done":  # a reply that is not whole is never offered for applying
                await self._propose(answer, text)
            self.publish(Event(discussion, "message", answer))

    def _save(self, message: int, **values: object) -> None:
        self.discussions.state.amend("message", message, **values)

    def _history(self, discussion: int, before: int) -> list[Message]:
        rows = self.discussions.messages(discussion)
        spoken = (row for row in rows if row["id"] < before and row["content"])
        return [Message(r["role"], r["content"]) for r in spoken if r["role"] != "system"]

    async def _propose(self, message: int, text: str) -> None:
        if not any(segment.is_edit for segment in find(text)):
            return
        verdict = await asyncio.to_thread(preview, self.repo, text)
        self.discussions.propose(message, text, verdict)

    async def judge(self, proposal: int) -> Verdict:
        """Check a stored edit again, against the files as they are now."""
        row = self.discussions.proposal(proposal)
        verdict = await asyncio.to_thread(preview, self.repo, row["edit"])
        self.discussions.judge(proposal, verdict)
        return verdict

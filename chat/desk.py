"""One turn: from a question to a stored answer and, where it holds an edit, a proposal.

Knows nothing of pages; whoever wants to watch sets `publish`. Invariants: the question is stored
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
from dataclasses import asdict, replace

from chat.choice import Choice
from chat.discussions import Discussions, MessageStatus
from context import Identity, count, pack
from models import Calibration, PromptTooLong
from patches import find, preview
from repo import Repo
from shapes import Finish, Message, Model, Pack, Piece, Prompt, Verdict, WorkbenchError

ASSISTANT = "Chip O'Theseus"
REPLY_TOKENS = 8_192
PACK_SHARE = 0.5  # of the window less the reply; the rest is for talk, and for other tokenizers
SAVE_EVERY_S = 0.3
CITED = re.compile(r"([\w./-]{1,200}\.\w{1,10}):(\d{1,7})")


class Reply:
    """One answer as it comes: iterate over it; `speaker` is then the model that spoke."""

    def __init__(self, chat: "Chat", question: str, history: list[Message], wanted: str) -> None:
        self.chat, self.question, self.history, self.wanted = chat, question, history, wanted
        self.speaker: Model = chat.choice.built_in

    async def __aiter__(self) -> AsyncIterator[Piece | Finish]:
        built_in = self.chat.choice.built_in
        self.speaker, notice = await self.chat.choice.speaker(self.wanted)
        shrink, spoken = 1.0, False
        while True:
            try:
                prompt = await asyncio.to_thread(self._prompt, shrink)
                async with aclosing(self.speaker.stream(prompt)) as stream:
                    async for piece in stream:
                        if isinstance(piece, Finish):
                            self.chat.learn(self.speaker, prompt, piece.prompt_tokens)
                            piece = replace(piece, note=f"{notice} {piece.note}".strip())
                        else:
                            spoken = spoken or piece.kind == "text"
                        yield piece
                return
            except PromptTooLong as error:
                if shrink < 1 or spoken:
                    raise
                room = prompt.window_tokens - prompt.reply_tokens
                shrink = 0.9 * min(1.0, room / error.prompt_tokens)  # once
            except WorkbenchError as error:
                if spoken or self.wanted or self.speaker is built_in:
                    raise
                notice = f"{error} The built-in engine answers instead."
                self.speaker = built_in

    def _prompt(self, shrink: float) -> Prompt:
        """Stable text first: the pack, the discussion so far, the question last."""
        question, speaker = Message("user", self.question), self.speaker
        window = speaker.window_tokens
        if speaker is self.chat.choice.built_in:  # reads the repository itself
            return Prompt((question,), window, window, 0)
        usable = int(self.chat.usable(speaker) * shrink)
        total = _size(question)
        if total > usable * (1 - PACK_SHARE):
            raise WorkbenchError(
                f"The question has {total:,} tokens; {speaker.name} can take {window:,}.",
                "Shorten it, or choose a larger window.",
            )
        told = self.chat.packed(speaker, self.question, shrink)
        total += told.total_tokens
        kept = len(self.history)  # where the discussion begins, as far back as it fits
        while kept and total + _size(self.history[kept - 1]) <= usable:
            kept -= 1
            total += _size(self.history[kept])
        messages = (Message("system", told.text), *self.history[kept:], question)
        return Prompt(messages, window, reply_tokens(window), total)


def _size(message: Message) -> int:
    return count(message.content) + 16  # a chat template's marks around it, generously


def reply_tokens(window_tokens: int) -> int:
    return min(REPLY_TOKENS, window_tokens // 4)


class Chat:
    def __init__(self, repo: Repo, choice: Choice, discussions: Discussions, app_name: str) -> None:
        self.repo, self.choice, self.discussions = repo, choice, discussions
        self.app_name = app_name
        # told of (discussion, kind, message's id, text); kinds: message, piece, phase
        self.publish: Callable[..., None] = lambda *event: None
        self._turns: dict[asyncio.Task[None], int] = {}
        self._queue: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def reply(self, question: str, history: list[Message] | None = None, model: str = "") -> Reply:
        return Reply(self, question, history or [], model)

    def usable(self, speaker: Model) -> int:
        """How many of our tokens a prompt may have."""
        window = speaker.window_tokens
        return int((window - reply_tokens(window)) / self._calibration().ratio(speaker.digest))

    def packed(self, speaker: Model, question: str = "", shrink: float = 1.0) -> Pack:
        """What a model is told before the talk begins. The budget follows nothing that is learned,
        so that the beginning stays the same from turn to turn."""
        window = speaker.window_tokens
        budget = int((window - reply_tokens(window)) * PACK_SHARE * shrink)
        identity = Identity(ASSISTANT, self.app_name, speaker.name, window)
        return pack(self.repo, budget, identity, question)

    def learn(self, speaker: Model, prompt: Prompt, counted_tokens: int | None) -> None:
        """Keep how many of the model's own tokens one of ours is."""
        if speaker.digest:
            calibration = self._calibration()
            calibration.learn(speaker.digest, prompt.estimate_tokens, counted_tokens)
            self.choice.settings["calibration"] = calibration.values

    def _calibration(self) -> Calibration:
        return Calibration(self.choice.settings.get("calibration") or {})

    def sources(self, answer: str) -> tuple[str, ...]:
        known = set(self.repo.files())
        found = (match for match in CITED.finditer(answer) if match[1] in known)
        return tuple(dict.fromkeys(match[0] for match in found))

    def busy(self, discussion: int | None = None) -> bool:
        """Whether a reply is being written now, in one discussion or in any."""
        return any(discussion in (None, each) for each in self._turns.values())

    def say(self, discussion: int, text: str, key: str | None = None) -> None:
        """Store a person's message and let the model answer; once for each key."""
        if message := self.discussions.add(discussion, "user", text, key=key):
            self.publish(discussion, "message", message)
            task = asyncio.create_task(self._turn(discussion, message, text))
            self._turns[task] = discussion
            task.add_done_callback(self._turns.pop)

    def tell(self, discussion: int, text: str) -> None:
        if message := self.discussions.add(discussion, "system", text):
            self.publish(discussion, "message", message)

    def stop(self, discussion: int) -> None:
        """End the reply that is being written in this discussion; its words stay."""
        for task, each in self._turns.items():
            if each == discussion:
                task.cancel()

    async def _turn(self, discussion: int, question: int, text: str) -> None:
        async with self._queue[discussion]:  # a question waits for the answer before it
            rows = self.discussions.messages(discussion)
            # not what the person has said since, which waits for its own answer
            spoken = (r for r in rows if r["role"] == "assistant" or r["id"] < question)
            history = [Message(r["role"], r["content"]) for r in spoken if r["role"] != "system"]
            answer = self.discussions.add(discussion, "assistant", "", status="streaming") or 0
            self.publish(discussion, "message", answer)
            reply, words, finish = self.reply(text, history), "", Finish("incomplete")
            status: MessageStatus = "failed"

            def save(**more: object) -> None:
                values = {"content": words, "model": reply.speaker.name, **more}
                self.discussions.state.amend("message", answer, **values)

            try:
                saved = time.monotonic()
                async with aclosing(aiter(reply)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Finish):
                            finish = piece
                            continue
                        is_text = piece.kind == "text"
                        words += piece.text * is_text
                        kind = "piece" if is_text else "phase"
                        self.publish(discussion, kind, answer, piece.text)
                        if time.monotonic() - saved > SAVE_EVERY_S:
                            save()
                            saved = time.monotonic()
                status = "done" if finish.reason == "stop" else "interrupted"
                note = finish.note
            except asyncio.CancelledError:
                status, note = "stopped", "You stopped this reply."
            except WorkbenchError as error:
                note = str(error)
            except Exception as error:  # a border: whatever it is, the question must not hang
                note = f"The program failed ({error!r}). Ask again, or look at its log."
            facts = {"digest": reply.speaker.digest, **asdict(finish)}
            save(status=status, note=note, facts=json.dumps(facts))
            # a reply that is not whole is never offered for applying
            if status == "done" and any(segment.is_edit for segment in find(words)):
                verdict = await asyncio.to_thread(preview, self.repo, words)
                self.discussions.propose(answer, words, verdict)
            self.publish(discussion, "message", answer)

    async def judge(self, proposal: int) -> Verdict:
        row = self.discussions.proposal(proposal)
        verdict = await asyncio.to_thread(preview, self.repo, row["edit"])
        self.discussions.judge(proposal, verdict)
        return verdict

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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chat.briefing import PACK_SHARE, Briefing, room
from chat.choice import Choice
from chat.discussions import Discussions, MessageStatus
from context import count, later
from models import Calibration, PromptTooLong
from patches import preview
from repo import Repo
from shapes import Finish, Message, Model, Piece, Prompt, Verdict, WorkbenchError

SAVE_EVERY_S = 0.3
REPAIR = "Your last edit could not be used. Please send it again whole. This is why:"
MAX_RETRIES = 3  # by itself, for one question
HOW = {  # to ask for an edit, by its form
    "diff": "",  # as the crash course says
    "search/replace": "Write edits as search/replace blocks under the file's path.\n\n",
    "patch": "Write edits in the `*** Begin Patch` format.\n\n",
    "file": "Write what changes as a whole file or definition, fenced, under its path.\n\n",
}
CITED = re.compile(r"([\w./-]{1,200}\.\w{1,10}):(\d{1,7})")


@dataclass
class Reply:
    """One answer as it comes: iterate over it; `speaker` is then the model that spoke."""

    chat: "Chat"
    question: str
    history: Sequence[Message] = ()
    model: str = ""  # that must answer
    discussion: int = 0  # none
    commit: str = ""  # that the model was shown
    facts: dict[str, object] = field(default_factory=dict)  # where it is kept what was sent

    def __post_init__(self) -> None:
        self.speaker: Model = self.chat.choice.built_in

    async def __aiter__(self) -> AsyncIterator[Piece | Finish]:
        built_in = self.speaker
        self.speaker, notice = await self.chat.choice.speaker(self.model)
        learned = spoken = False
        while True:
            try:
                prompt = await asyncio.to_thread(self._prompt)
                async with aclosing(self.speaker.stream(prompt)) as stream:
                    async for piece in stream:
                        if isinstance(piece, Finish):
                            self.chat.learn(self.speaker, prompt, piece.prompt_tokens)
                            piece = replace(piece, note=f"{notice} {piece.note}".strip())
                        elif piece.kind == "request":
                            self.facts["request"] = piece.text
                            continue
                        spoken |= getattr(piece, "kind", "") == "text"
                        yield piece
                return
            except PromptTooLong as error:
                if learned or spoken:
                    raise
                self.chat.learn(self.speaker, prompt, int(1.05 * error.prompt_tokens))
                learned = True
            except WorkbenchError as error:
                if spoken or self.model or self.speaker is built_in:
                    raise
                notice = f"{error} The built-in engine answers instead."
                self.speaker, self.facts = built_in, {}

    def _prompt(self) -> Prompt:
        speaker, self.commit = self.speaker, self.chat.repo.head() or ""
        window = speaker.window_tokens
        if speaker is self.chat.choice.built_in:  # reads the repository itself
            return Prompt((Message("user", self.question),), window, window, 0)
        usable = int(room(window) / self.chat.calibration().ratio(speaker.digest))
        wish = self.chat.wish(speaker)
        if (total := count(wish + self.question)) > usable * (1 - PACK_SHARE):
            raise WorkbenchError(
                f"The question has {total:,} tokens; {speaker.name} can take {window:,}.",
                "Shorten it, or choose a larger window.",
            )
        sent, self.facts = self.chat.briefing.compose(
            speaker, usable, wish, self.question, self.history, self.discussion
        )
        return Prompt(tuple(sent), window, window - room(window), later.size(*sent))


class Chat:
    def __init__(self, repo: Repo, choice: Choice, discussions: Discussions, app_name: str) -> None:
        self.repo, self.choice, self.discussions = repo, choice, discussions
        self.app_name, self.settings = app_name, discussions.state
        self.briefing = Briefing(repo, self.settings, app_name)
        # told of (discussion, kind, message's id, text); kinds: message, piece, phase
        self.publish: Callable[..., None] = lambda *event: None
        self._turns: dict[asyncio.Task[None], int] = {}
        self._queue: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def reply(self, question: str, **how: Any) -> Reply:  # noqa: ANN401
        return Reply(self, question, **how)

    def learn(self, speaker: Model, prompt: Prompt, counted_tokens: int | None) -> None:
        """Keep how many of the model's own tokens one of ours is."""
        if speaker.digest:
            calibration = self.calibration()
            calibration.learn(speaker.digest, prompt.estimate_tokens, counted_tokens)
            self.settings["calibration"] = calibration.values

    def judged(self, speaker: Model, verdict: Verdict) -> None:
        """Keep how often a model's edits in one form can be used."""
        known = self.settings.get("forms", {})
        forms = known.setdefault(speaker.digest or speaker.name, {})
        good, tried = forms.get(verdict.form, (0, 0))
        forms[verdict.form] = good + verdict.ok, tried + 1
        self.settings["forms"] = known

    def wish(self, speaker: Model) -> str:
        """For another form than a diff, where the model does better in it."""
        forms = self.settings.get("forms", {}).get(speaker.digest or speaker.name, {})

        def rate(form: str) -> float:
            good, tried = forms.get(form, (0, 0))
            return good / tried if tried > 2 else (form == "diff") / 2

        return HOW[max(HOW, key=rate)]

    def calibration(self) -> Calibration:
        return Calibration(self.settings.get("calibration", {}))

    def sources(self, answer: str) -> tuple[str, ...]:
        known = set(self.repo.files())
        found = (match for match in CITED.finditer(answer) if match[1] in known)
        return tuple(dict.fromkeys(match[0] for match in found))

    def busy(self, discussion: int | None = None) -> bool:
        """Whether a reply is being written now, in one discussion or in any."""
        return any(discussion in (None, each) for each in self._turns.values())

    def say(self, discussion: int, text: str, key: str | None = None, retries: int = 0) -> None:
        """Store a person's message and let the model answer; once for each key."""
        if message := self.discussions.add(discussion, "user", text, key=key):
            self.publish(discussion, "message", message)
            task = asyncio.create_task(self._turn(discussion, message, text, retries))
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

    async def _turn(self, discussion: int, question: int, text: str, retries: int) -> None:
        async with self._queue[discussion]:  # a question waits for the answer before it
            rows = self.discussions.messages(discussion)
            # not what the person has said since, which waits for its own answer
            spoken = [r for r in rows if r["role"] == "assistant" or r["id"] < question]
            # a reply belongs to its question, though others were asked meanwhile
            spoken.sort(key=lambda r: (json.loads(r["facts"]).get("question", r["id"]), r["id"]))
            roles = {"system": "user"}  # what the workbench tells is no instruction to the model
            history = [Message(roles.get(r["role"], r["role"]), r["content"]) for r in spoken]
            noted = self.briefing.remember(text)
            answer = self.discussions.add(discussion, "assistant", "", status="streaming") or 0
            self.publish(discussion, "message", answer)
            reply = self.reply(text, history=history, discussion=discussion)
            words, finish = "", Finish("incomplete")
            status: MessageStatus = "failed"

            def save(**more: str) -> None:
                name = reply.speaker.name
                self.settings.amend("message", answer, content=words, model=name, **more)

            try:
                saved = time.monotonic()
                async with aclosing(aiter(reply)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Finish):
                            finish = piece
                            continue
                        kind = "phase"
                        if piece.kind == "text":
                            kind = "piece"
                            words += piece.text
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
            facts = {"question": question, "digest": reply.speaker.digest, "commit": reply.commit}
            facts |= reply.facts | asdict(finish)
            save(status=status, note=noted + note, facts=json.dumps(facts))
            if status == "done":  # a reply that is not whole is never offered for applying
                verdict = await asyncio.to_thread(preview, self.repo, words, base=reply.commit)
                if verdict.form:
                    self.judged(reply.speaker, verdict)
                    proposal = self.discussions.propose(answer, words, verdict)
                    again = self.settings.get("automatic") and retries < MAX_RETRIES
                    if again and not verdict.ok:
                        self.retry(proposal, retries=retries + 1)
            self.publish(discussion, "message", answer)

    def retry(self, proposal: int, why: str = "", retries: int = 0) -> None:
        """Ask the model for another edit in place of this one, and say what is wrong with it."""
        row = self.discussions.proposal(proposal)
        found = row["error"] or self.discussions.verdict(row).reason
        self.settings.amend("proposal", proposal, status="superseded")
        text = "\n\n".join(filter(None, (REPAIR, why, found)))
        self.say(row["discussion"], text, retries=retries)

    async def judge(self, proposal: int) -> Verdict:
        row = self.discussions.proposal(proposal)
        base = json.loads(row["facts"]).get("commit", "")
        verdict = await asyncio.to_thread(preview, self.repo, row["edit"], base=base)
        self.discussions.judge(proposal, verdict)
        return verdict

"""What every handler of one body works with, and what its buttons do to the repository.

Knows nothing of how anything looks. Invariant: an edit is applied only by a click that names the
exact diff that was shown, one change of the tree at a time.
"""

import asyncio
import json
import time
import uuid
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from sqlite3 import Row

from starlette.requests import Request

import patches
from chat import Chat
from shapes import Note, Pack, Provenance, WorkbenchError, frozen
from state import home
from web import assets
from web.body import Control
from web.hunks import join, shown, split
from web.markdown import Markdown

AGAIN = {"retry": "Ask for another try", "check": "Check again", "dismiss": "Reject"}
BUTTONS = {  # by a proposal's status; the first one of a card stands out
    "open": {"apply": "Apply", "tests": "Run tests", "retry": AGAIN["retry"], "dismiss": "Reject"},
    "refused": AGAIN,
    "failed": AGAIN,
    "applied": {"undo": "Undo", "keep": "Keep"},
    "undone": {"redo": "Redo"},
}
ALWAYS = ("side_by_side", "automatic", "stop")


@frozen
class Click:
    """What a card sends: about its parts `first` to `last`, where it is about some."""

    number: int
    what: str
    sha: str = ""
    why: str = ""
    first: int = 0
    last: int = 0
    text: str = ""


class Desk:
    def __init__(self, chat: Chat, branch: patches.Branch, control: Control, app_name: str) -> None:
        self.chat, self.branch, self.control = chat, branch, control
        self.repo, self.discussions, self.settings = chat.repo, chat.discussions, chat.settings
        self.own = self.repo.root == assets.ROOT  # this program is its own target
        self.title = app_name if self.own else f"{app_name} · {self.repo.name}"
        self.assets = assets.read()
        paths = lru_cache(1)(lambda second: frozenset(self.repo.files()))
        self.markdown = Markdown(lambda: paths(int(time.monotonic())))  # git is slow
        self.body_id = uuid.uuid4().hex[:12]
        self.moving = asyncio.Lock()
        self.tests: dict[int, asyncio.Task[None]] = {}  # by the proposal that they try
        self.errand: asyncio.Task[None] | None = None
        self.good = self.repo.head()  # what this body is made of

    @classmethod
    def __from_request__(cls, req: Request) -> "Desk":
        return req.app.state.desk

    def current(self) -> int:
        """The discussion that is open: the last one that was chosen, else the newest."""
        ids = [row["id"] for row in self.discussions.all()] or [self.discussions.start()]
        chosen = self.settings.get("discussion")
        return chosen if chosen in ids else ids[0]

    async def packed(self) -> tuple[Pack, int]:
        """What the model that would answer now is told, and the size of its window."""
        speaker, _ = await self.chat.choice.speaker()
        return await asyncio.to_thread(self.chat.packed, speaker), speaker.window_tokens

    def mark(self, proposal: int, **values: str) -> None:
        if values:
            self.settings.amend("proposal", proposal, **values)
        row = self.discussions.proposal(proposal)
        self.chat.publish(row["discussion"], "message", row["message"])

    async def act(self, click: Click) -> None:
        """Do what a card says. It ends the card's tests."""
        proposal, what = click.number, click.what
        row = self.discussions.proposal(proposal)
        acts = BUTTONS.get(row["status"], {})
        about_parts = what in ("leave", "take", "edit")
        if what not in (*acts, *ALWAYS) and not (about_parts and "dismiss" in acts):
            raise WorkbenchError(f"This edit is {row['status']} now.", "Read the card again.")
        if task := self.tests.pop(proposal, None):
            task.cancel()
        try:
            match what:
                case "apply" if not self.own:
                    await self.apply(proposal, click.sha)
                case "apply":
                    self.tests[proposal] = asyncio.create_task(self.rehearse(row, click.sha))
                case "tests":
                    self.tests[proposal] = asyncio.create_task(self.try_out(row, what))
                case "leave" | "take" | "edit":
                    await self.choose(row, click)
                case "check":
                    await self.chat.judge(proposal)
                case "dismiss":
                    self.settings.amend("proposal", proposal, status="dismissed", error=click.why)
                    if click.why:
                        self.chat.tell(row["discussion"], f"This edit was rejected: {click.why}")
                case "retry":
                    self.chat.retry(proposal, click.why)
                case "side_by_side" | "automatic":
                    self.settings[what] = not self.settings.get(what)
                case "undo" | "redo" | "keep":
                    await self.step(what)
        finally:
            self.mark(proposal)

    async def choose(self, row: Row, click: Click) -> None:
        """Leave parts of a diff out, take them in again, or edit one; then check what is left."""
        parts = []
        for at, part in enumerate(shown(row, self.discussions.verdict(row))):
            if not click.first <= at <= click.last:
                parts.append(part)
            elif click.what == "edit":
                text = part.head + click.text.rstrip("\n") + "\n"
                parts += split(text, part.taken)
            else:
                parts.append(part._replace(taken=click.what == "take"))
        edit = join(part for part in parts if part.taken) if parts else click.text
        if not edit.strip():
            raise WorkbenchError("Nothing of this edit would be left.", "Reject it instead.")
        left_out = join(part for part in parts if not part.taken)
        self.settings.amend("proposal", row["id"], edit=edit, left_out=left_out, error="")
        await self.chat.judge(row["id"])

    async def try_out(self, row: Row, check: str) -> Note:
        """Run the tests on an edit, or a rehearsal; what it says joins what the check found."""
        proposal, lines = row["id"], []
        verdict = await self.chat.judge(proposal)
        trial = patches.run_trial(check, self.branch, verdict, self._copy_state)
        async with aclosing(trial) as told:
            async for line in told:
                if isinstance(line, Note):
                    verdict = replace(verdict, notes=[*verdict.notes, line])
                    self.discussions.judge(proposal, verdict)
                else:
                    lines = [*lines[-5:], line]
                    words = "\n".join(lines)
                    self.chat.publish(row["discussion"], "phase", row["message"], words)
        del self.tests[proposal]
        self.mark(proposal)
        return verdict.notes[-1]

    def _copy_state(self, clone: Path) -> None:
        self.settings.copy(home(clone.resolve(), clone.parent))

    async def rehearse(self, row: Row, sha: str) -> None:
        """Apply what has shown in a clone that it can serve."""
        note = await self.try_out(row, "rehearsal")
        values = {} if note.ok else {"status": "failed", "error": note.text}
        try:
            if note.ok:
                await self.apply(row["id"], sha)
        except WorkbenchError as error:
            values = {"error": str(error)}
        self.mark(row["id"], **values)

    async def apply(self, proposal: int, sha: str) -> None:
        """Check the edit again, apply it, and have the supervisor wake the new body."""
        async with self.moving:
            tried = self.discussions.verdict(self.discussions.proposal(proposal)).notes
            verdict = await self.chat.judge(proposal)
            row = self.discussions.proposal(proposal)
            if not verdict.ok or row["sha"] != sha:
                raise WorkbenchError(
                    "The files have changed since this diff was shown, and nothing was applied.",
                    "Read the card again: it shows what would be applied now.",
                )
            tried = [note for note in tried if note.check in ("tests", "rehearsal")]
            self.discussions.judge(proposal, replace(verdict, notes=[*verdict.notes, *tried]))
            rows = self.discussions.messages(row["discussion"])
            asked = [r["content"] for r in rows if r["id"] < row["message"] and r["role"] == "user"]
            digest = json.loads(row["facts"]).get("digest") or ""
            who = Provenance(row["model"], digest, str(row["discussion"]))
            done = await asyncio.to_thread(self.branch.apply, verdict, asked[-1], who)
            values = {"branch": done.branch, "commit_sha": done.commit, "error": ""}
            values["status"] = "waking" if self.own else "applied"
            self.settings.amend("proposal", proposal, **values)
        self.control.look()

    async def step(self, what: str, *arguments: str) -> None:
        """Undo, redo, keep, or go to a change."""
        async with self.moving:
            await asyncio.to_thread(getattr(self.branch, what), *arguments)
            await self._follow_git()
        self.control.look()

    def heard(self, news: dict) -> None:
        """What the supervisor says of the next body, or of this one going live."""
        failed = news.get("failed")
        if not failed:
            self.good = self.repo.head()
            self.discussions.mend()
        self.errand = asyncio.create_task(self._follow(self.good, failed))

    async def _follow(self, good: str, failed: dict[str, str] | None) -> None:
        async with self.moving:
            if not failed:
                await self._follow_git()
                return
            told = f"{failed['stage']}: {failed['error']}".strip()
            if self.repo.head() != good:
                try:
                    await asyncio.to_thread(self.branch.go, good)
                except WorkbenchError as trouble:
                    told += f"\n\nThe change could not be taken back: {trouble}"
            if not await self._follow_git(status="failed", error=told):
                text = f"What was saved does not run; this version goes on.\n\n```\n{told}\n```"
                self.chat.tell(self.current(), text)
        self.control.look()

    async def _follow_git(self, **undone: str) -> bool:
        """Let cards say what git says of their commits; whether any was undone."""
        found = False
        for change in await asyncio.to_thread(self.branch.changes):
            was, values = {"waking", "applied"}, undone or {"status": "undone"}
            if change.state != "undone":
                was, values = {"waking", "undone", "failed"}, {"status": "applied", "error": ""}
            for row in self.discussions.proposals(commit_sha=change.commit):
                if row["status"] in was:
                    found |= change.state == "undone"
                    self.mark(row["id"], **values)
        return found

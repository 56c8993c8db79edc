"""What every handler of one body works with, and what its buttons do to the repository.

Knows nothing of how anything looks. Invariant: an edit is applied only by a click that names the
exact diff that was shown, one change of the tree at a time.
"""

import asyncio
import json
import uuid
from contextlib import aclosing
from dataclasses import replace
from os.path import isfile
from pathlib import Path
from sqlite3 import Row

from starlette.requests import Request

import patches
from chat import Chat
from shapes import Note, Provenance, Verdict, WorkbenchError, frozen
from state import home
from web import assets
from web.body import Control
from web.hunks import join, shown, split
from web.markdown import Markdown

PARTS = ("toggle", "edit")
MEND = ("ask_for_another_try", "reject", *PARTS)
ACTS = {  # what can be done with a proposal, by its status; the first one stands out
    "open": ("apply", "run_tests", *MEND),
    "refused": MEND,
    "failed": MEND,
    "applied": ("undo", "keep"),
    "undone": ("redo",),
}
SETTINGS = ("side_by_side", "automatic")
TRIALS = ("tests", "rehearsal")
CHANGED = (
    "The edit or its files have changed since this was shown; nothing was done.",
    "Read the card again: it shows what would be applied now.",
)


@frozen
class Click:
    """What a card sends: it shows the diff `sha`, and is about its parts `start` to `stop`."""

    number: int
    what: str
    sha: str = ""
    why: str = ""
    start: int = 0
    stop: int = 0
    text: str = ""


class Desk:
    def __init__(self, chat: Chat, branch: patches.Branch, control: Control, app_name: str) -> None:
        self.chat, self.branch, self.control = chat, branch, control
        self.repo, self.discussions, self.settings = chat.repo, chat.discussions, chat.settings
        self.own = self.repo.root == assets.ROOT  # this program is its own target
        self.title = app_name if self.own else f"{app_name} · {self.repo.name}"
        self.version = assets.version()
        # unlike Path's, it never raises
        self.markdown = Markdown(lambda path: isfile(self.repo.root / path))  # noqa: PTH113
        self.body_id = uuid.uuid4().hex[:12]
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

    def mark(self, proposal: int, **values: str) -> None:
        if values:
            self.settings.amend("proposal", proposal, **values)
        row = self.discussions.proposal(proposal)
        self.chat.publish(row["discussion"], "message", row["message"])

    async def act(self, click: Click) -> None:
        """Do what a card says. It ends the card's tests."""
        proposal, what = click.number, click.what
        row = self.discussions.proposal(proposal)
        allowed = (*ACTS.get(row["status"], ()), *SETTINGS, "stop")
        if click.sha != row["sha"] or what not in allowed:
            raise WorkbenchError(*CHANGED)
        if task := self.tests.pop(proposal, None):
            task.cancel()
        try:
            match what:
                case "apply" if not self.own:
                    await self.apply(row, await self._judged(row))
                case "apply":
                    self.tests[proposal] = asyncio.create_task(self.rehearse(row))
                case "run_tests":
                    self.tests[proposal] = asyncio.create_task(self.try_out(row, "tests"))
                case "toggle" | "edit":
                    await self.choose(row, click)
                case "reject":
                    self.settings.amend("proposal", proposal, status="dismissed", error=click.why)
                    if click.why:
                        self.chat.tell(row["discussion"], f"This edit was rejected: {click.why}")
                case "ask_for_another_try":
                    self.chat.retry(proposal, click.why)
                case "undo" | "redo" | "keep":
                    await self.step(what)
                case _ if what in SETTINGS:
                    self.settings[what] = not self.settings.get(what)
        finally:
            self.mark(proposal)

    async def choose(self, row: Row, click: Click) -> None:
        """Leave parts of a diff out or take them in again, or edit one; then check what is left."""
        parts, text = shown(row, self.discussions.verdict(row)), click.text.rstrip("\n") + "\n"
        span = slice(click.start, click.stop)
        if chosen := parts[span]:
            taken = any(part.taken for part in chosen)
            if click.what == "edit":
                parts[span] = split(chosen[0].head + text, taken)
            else:
                parts[span] = [part._replace(taken=not taken) for part in chosen]
            text = join(part for part in parts if part.taken)
        if not text.strip():
            raise WorkbenchError("Nothing of this edit would be left.", "Reject it instead.")
        left_out = join(part for part in parts if not part.taken)
        self.settings.amend("proposal", row["id"], edit=text, left_out=left_out, error="")
        await self.chat.judge(row["id"])

    async def _judged(self, row: Row) -> Verdict:
        """The edit checked again; what was tried with it stands."""
        tried = [it for it in self.discussions.verdict(row).notes if it.check in TRIALS]
        verdict = await self.chat.judge(row["id"])
        return replace(verdict, notes=[*verdict.notes, *tried])

    async def try_out(self, row: Row, check: str) -> Verdict:
        """Run the tests on an edit, or a rehearsal; what it says joins what the check found."""
        verdict = await self._judged(row)
        trial = patches.run_trial(check, self.branch, verdict, self._copy_state)
        async with aclosing(trial) as told:
            async for news in told:
                if isinstance(news, Note):
                    others = [note for note in verdict.notes if note.check != check]
                    verdict = replace(verdict, notes=[*others, news])
                elif news:
                    self.chat.publish(row["discussion"], "phase", row["message"], news)
        self.discussions.judge(row["id"], verdict)
        del self.tests[row["id"]]
        self.mark(row["id"])
        return verdict

    def _copy_state(self, clone: Path) -> None:
        self.settings.copy(home(clone.resolve(), clone.parent))

    async def rehearse(self, row: Row) -> None:
        """Apply what has shown in a clone that it can serve."""
        verdict = await self.try_out(row, "rehearsal")
        note = verdict.notes[-1]
        values = {} if note.ok else {"status": "failed", "error": note.text}
        try:
            if note.ok:
                await self.apply(row, verdict)
        except WorkbenchError as error:
            values = {"error": str(error)}
        self.mark(row["id"], **values)

    async def apply(self, row: Row, verdict: Verdict) -> None:
        """Apply what was just judged, as it was shown, and have the supervisor wake the new body.
        A file that has changed since is refused by the branch."""
        if not verdict.ok or self.discussions.proposal(row["id"])["sha"] != row["sha"]:
            raise WorkbenchError(*CHANGED)
        self.discussions.judge(row["id"], verdict)
        rows = self.discussions.messages(row["discussion"])
        asked = [r["content"] for r in rows if r["id"] < row["message"] and r["role"] == "user"]
        digest = json.loads(row["facts"]).get("digest") or ""
        who = Provenance(row["model"], digest, str(row["discussion"]))
        done = await asyncio.to_thread(self.branch.apply, verdict, asked[-1], who)
        values = {"branch": done.branch, "commit_sha": done.commit, "error": ""}
        values["status"] = "waking" if self.own else "applied"
        self.settings.amend("proposal", row["id"], **values)
        self.control.look()

    async def step(self, what: str, *arguments: str) -> None:
        """Undo, redo, keep, or go to a change; the cards follow what git says."""
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
        if not failed:
            await self._follow_git()
            return
        told = f"{failed['stage']}: {failed['error']}".strip()
        if self.repo.head() != good:
            try:
                await asyncio.to_thread(self.branch.go, good)
                self.control.look()
            except WorkbenchError as trouble:
                told += f"\n\nThe change could not be taken back: {trouble}"
        if not await self._follow_git(status="failed", error=told):
            text = f"What was saved does not run; this version goes on.\n\n```\n{told}\n```"
            self.chat.tell(self.current(), text)

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

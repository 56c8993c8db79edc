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
from sqlite3 import Row

from starlette.requests import Request

import patches
from chat import Chat
from shapes import Note, Provenance, WorkbenchError, frozen
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
                case "apply":
                    await self.apply(row)
                case "run_tests":
                    self.tests[proposal] = asyncio.create_task(self.try_out(row))
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

    async def try_out(self, row: Row) -> None:
        """Run the tests on an edit; what they say joins what the check found."""
        verdict = await self.chat.judge(row["id"])
        async with aclosing(patches.run_tests(self.branch, verdict)) as told:
            async for news in told:
                if isinstance(news, Note):
                    verdict = replace(verdict, notes=[*verdict.notes, news])
                elif news:
                    self.chat.publish(row["discussion"], "phase", row["message"], news)
        self.discussions.judge(row["id"], verdict)
        del self.tests[row["id"]]
        self.mark(row["id"])

    async def apply(self, row: Row) -> None:
        """Check the edit again, apply it, and have the supervisor wake the new body."""
        verdict = await self.chat.judge(row["id"])
        if not verdict.ok or self.discussions.proposal(row["id"])["sha"] != row["sha"]:
            raise WorkbenchError(*CHANGED)
        rows = self.discussions.messages(row["discussion"])
        asked = [r["content"] for r in rows if r["id"] < row["message"] and r["role"] == "user"]
        digest = json.loads(row["facts"]).get("digest") or ""
        who = Provenance(row["model"], digest, str(row["discussion"]))
        done = await asyncio.to_thread(self.branch.apply, verdict, asked[-1], who)
        values = {"branch": done.branch, "commit_sha": done.commit, "error": ""}
        values["status"] = "waking" if self.own else "applied"
        self.settings.amend("proposal", row["id"], **values)
        self.control.look()

    async def step(self, what: str) -> None:
        """Undo, redo or keep the newest change; the cards follow what git says."""
        done = await asyncio.to_thread(getattr(self.branch, what))
        states = {done.base: "undone" if what == "undo" else "applied", done.commit: "applied"}
        for commit, status in states.items():
            for row in self.discussions.proposals(commit_sha=commit):
                self.mark(row["id"], status=status)
        self.control.look()

    def heard(self, news: dict) -> None:
        """What the supervisor says of the next body, or of this one going live."""
        waking = [row["id"] for row in self.discussions.proposals(status="waking")]
        if "failed" in news:
            told = "{stage}: {error}".format(**news["failed"]).strip()
            self.errand = asyncio.create_task(self._take_back(waking, told))
        elif "go" in news or "unchanged" in news:
            self.discussions.mend()
            for proposal in waking:
                self.mark(proposal, status="applied")

    async def _take_back(self, waking: list[int], told: str) -> None:
        if not waking:
            text = f"What was saved does not run; this version goes on.\n\n```\n{told}\n```"
            self.chat.tell(self.current(), text)
        for proposal in reversed(waking):
            try:
                await self.step("undo")
            except WorkbenchError as trouble:
                told += f"\n\nThe change could not be taken back: {trouble}"
            self.mark(proposal, status="failed", error=told)

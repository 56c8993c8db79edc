"""What every handler of one body works with, and what its buttons do to the repository.

Knows nothing of how anything looks. Invariant: an edit is applied only by a click that names the
exact diff that was shown, one change of the tree at a time.
"""

import asyncio
import json
import time
import uuid

from starlette.requests import Request

from chat import Chat
from patches import Branch
from shapes import Pack, Provenance, WorkbenchError
from web import assets
from web.body import Control
from web.markdown import Markdown

REPAIR = "Your last edit could not be used. Please send it again whole, as a diff. This is why:"


class Desk:
    def __init__(self, chat: Chat, branch: Branch, control: Control, app_name: str) -> None:
        self.chat, self.branch, self.control = chat, branch, control
        self.repo, self.discussions = chat.repo, chat.discussions
        self.settings = chat.discussions.state
        self.own = self.repo.root == assets.ROOT  # this program is its own target
        self.title = app_name if self.own else f"{app_name} · {self.repo.name}"
        self.assets = assets.read()
        self.markdown = Markdown(self._paths)
        self.body_id = uuid.uuid4().hex[:12]
        self.moving = asyncio.Lock()
        self.errand: asyncio.Task[None] | None = None
        self._known: tuple[float, frozenset[str]] = 0.0, frozenset()

    @classmethod
    def __from_request__(cls, req: Request) -> "Desk":
        return req.app.state.desk

    def _paths(self) -> frozenset[str]:
        """Tracked paths, asked of git once a second at most."""
        if time.monotonic() - self._known[0] > 1:
            self._known = time.monotonic(), frozenset(self.repo.files())
        return self._known[1]

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

    async def act(self, proposal: int, what: str, sha: str) -> None:
        row = self.discussions.proposal(proposal)
        if what == "apply":
            await self.apply(proposal, sha)
        elif what == "check":
            await self.chat.judge(proposal)
            self.mark(proposal)
        elif what == "dismiss":
            self.mark(proposal, status="dismissed")
        elif what == "repair":
            reason = row["error"] or self.discussions.verdict(row).reason
            self.chat.say(row["discussion"], f"{REPAIR}\n\n{reason}")
        else:
            await self.step(what)

    async def apply(self, proposal: int, sha: str) -> None:
        """Check the edit again, apply it, and have the supervisor wake the new body."""
        async with self.moving:
            verdict = await self.chat.judge(proposal)
            row = self.discussions.proposal(proposal)
            if not verdict.ok or row["sha"] != sha:
                self.mark(proposal)
                raise WorkbenchError(
                    "The files have changed since this diff was shown, and nothing was applied.",
                    "Read the card again: it shows what would be applied now.",
                )
            rows = self.discussions.messages(row["discussion"])
            before = (r for r in rows if r["role"] == "user" and r["id"] < row["message"])
            asked = [r["content"] for r in before]
            digest = json.loads(row["facts"]).get("digest") or ""
            who = Provenance(row["model"], digest, str(row["discussion"]))
            done = await asyncio.to_thread(self.branch.apply, verdict, asked[-1], who)
            status = "waking" if self.own else "applied"
            self.mark(proposal, status=status, branch=done.branch, commit_sha=done.commit, error="")
        self.control.look()

    async def step(self, what: str) -> None:
        """Undo, redo or keep the newest change; the cards follow what git says."""
        moves = {"undo": self.branch.undo, "redo": self.branch.redo, "keep": self.branch.keep}
        if what not in moves:
            raise WorkbenchError(f"{what!r} is not a move.", "It is undo, redo or keep.")
        async with self.moving:
            before = self.repo.head()
            await asyncio.to_thread(moves[what])
        for row in self.discussions.proposals(commit_sha=before):
            self.mark(row["id"], **({"status": "undone"} if what == "undo" else {}))
        for row in self.discussions.proposals(commit_sha=self.repo.head()):
            self.mark(row["id"], **({"status": "applied"} if what == "redo" else {}))
        self.control.look()

    def heard(self, news: dict) -> None:
        """What the supervisor says of the next body, or of this one going live."""
        waking = [row["id"] for row in self.discussions.proposals(status="waking")]
        if "failed" in news:
            told = f"{news['failed']['stage']}: {news['failed']['error']}".strip()
            if waking:
                self.errand = asyncio.create_task(self._take_back(waking, told))
            else:
                text = f"What was saved does not run; this version goes on.\n\n```\n{told}\n```"
                self.chat.tell(self.current(), text)
        elif "go" in news or "unchanged" in news:
            self.discussions.mend()
            for proposal in waking:
                self.mark(proposal, status="applied")

    async def _take_back(self, waking: list[int], told: str) -> None:
        async with self.moving:
            for proposal in reversed(waking):
                try:
                    await asyncio.to_thread(self.branch.undo)
                except WorkbenchError as trouble:
                    told += f"\n\nThe change could not be taken back: {trouble}"
                self.mark(proposal, status="failed", error=told)
        self.control.look()

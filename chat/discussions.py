"""Discussions, their messages and the edits proposed in them, kept in the database.

Knows nothing of models or pages. Invariant: a message is stored before anything is done about it,
and a key is stored once, so that a page may send again what it is not sure was received.
"""

import hashlib
import json
import os
import sqlite3
from typing import Literal

from shapes import Note, Verdict, WorkbenchError
from state import State

# A proposal waits for a click, was refused by the checks, or went its way:
# open -> waking -> applied -> undone, or waking -> failed when the new body does not wake.
ProposalStatus = Literal["open", "refused", "waking", "applied", "failed", "undone", "dismissed"]
MessageStatus = Literal["done", "streaming", "stopped", "failed", "interrupted"]
TITLE_CHARS = 60


class Discussions:
    """Rows in, rows out; `state` is the database."""

    def __init__(self, state: State) -> None:
        self.state = state

    def all(self) -> list[sqlite3.Row]:
        """Every discussion, the one with the newest message first."""
        return self.state.rows(
            "SELECT d.*, coalesce(max(m.id), 0) AS last FROM discussion d"
            " LEFT JOIN message m ON m.discussion = d.id"
            " GROUP BY d.id ORDER BY last DESC, d.id DESC"
        )

    def start(self) -> int:
        """A discussion to write in: an empty one if there is one, else a new one."""
        empty = [row["id"] for row in self.all() if not row["last"]]
        return empty[0] if empty else self.state.insert("discussion", title="New discussion")

    def get(self, discussion: int) -> sqlite3.Row:
        found = self.state.rows("SELECT * FROM discussion WHERE id = ?", discussion)
        if not found:
            raise WorkbenchError(
                f"There is no discussion {discussion}.", "Choose one from the list."
            )
        return found[0]

    def messages(self, discussion: int) -> list[sqlite3.Row]:
        return self.state.rows("SELECT * FROM message WHERE discussion = ? ORDER BY id", discussion)

    def message(self, message: int) -> sqlite3.Row:
        return self.state.rows("SELECT * FROM message WHERE id = ?", message)[0]

    def add(
        self,
        discussion: int,
        role: str,
        content: str,
        *,
        status: MessageStatus = "done",
        model: str = "",
        key: str | None = None,
    ) -> int | None:
        """Store a message; returns its id, or None when its key was stored before."""
        try:
            row = self.state.insert(
                "message",
                discussion=discussion,
                role=role,
                content=content,
                status=status,
                model=model,
                key=key,
                pid=os.getpid(),
            )
        except sqlite3.IntegrityError:
            self.get(discussion)  # the other way to break a constraint
            return None
        if role == "user" and self.get(discussion)["title"] == "New discussion":
            title = " ".join(content.split())[:TITLE_CHARS]
            self.state.amend("discussion", discussion, title=title or "New discussion")
        return row

    def mend(self) -> None:
        """Say of replies whose process has died that they were interrupted; their words stay."""
        for row in self.state.rows("SELECT id, pid FROM message WHERE status = 'streaming'"):
            if not _alive(row["pid"]):
                note = "The program ended while this was written. Ask again to get the rest."
                self.state.amend("message", row["id"], status="interrupted", note=note)

    # -- proposals -----------------------------------------------------------------------------

    def propose(self, message: int, edit: str, verdict: Verdict) -> int:
        """Store an edit with its verdict as it is now."""
        return self.state.insert("proposal", message=message, edit=edit, **_judged(verdict))

    def judge(self, proposal: int, verdict: Verdict) -> None:
        """Store a newer verdict about the same edit."""
        self.state.amend("proposal", proposal, **_judged(verdict))

    def proposals(self, message: int) -> list[sqlite3.Row]:
        return self.state.rows("SELECT * FROM proposal WHERE message = ? ORDER BY id", message)

    def proposal(self, proposal: int) -> sqlite3.Row:
        found = self.state.rows(
            "SELECT p.*, m.discussion, m.model, m.facts FROM proposal p"
            " JOIN message m ON m.id = p.message WHERE p.id = ?",
            proposal,
        )
        if not found:
            raise WorkbenchError(f"There is no proposal {proposal}.", "Ask for the change again.")
        return found[0]

    def verdict(self, row: sqlite3.Row) -> Verdict:
        """The stored verdict of a proposal (without the files' new texts)."""
        detail = json.loads(row["detail"])
        notes = tuple(Note(*note) for note in detail["notes"])
        return Verdict(row["status"] != "refused", detail["reason"], (), notes, detail["diff"])

    def with_status(self, status: ProposalStatus) -> list[sqlite3.Row]:
        ids = self.state.rows("SELECT id FROM proposal WHERE status = ? ORDER BY id", status)
        return [self.proposal(row["id"]) for row in ids]

    def of_commit(self, commit: str) -> list[sqlite3.Row]:
        ids = self.state.rows("SELECT id FROM proposal WHERE commit_sha = ?", commit)
        return [self.proposal(row["id"]) for row in ids]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _judged(verdict: Verdict) -> dict[str, str]:
    """The columns of a verdict. `sha` is what a click on Apply is bound to: exactly the diff that
    was shown."""
    notes = [[note.check, note.ok, note.text] for note in verdict.notes]
    detail = {"reason": verdict.reason, "diff": verdict.diff, "notes": notes}
    sha = hashlib.sha256(verdict.diff.encode("utf-8", "surrogateescape")).hexdigest()
    return {
        "sha": sha,
        "status": "open" if verdict.ok else "refused",
        "detail": json.dumps(detail),
    }

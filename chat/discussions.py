"""Discussions, their messages and the edits proposed in them, kept in the database.

Knows nothing of models or pages. Invariant: a message is stored before anything is done about it,
and a key is stored once, so that a page may send again what it is not sure was received.
"""

import hashlib
import json
import os
import sqlite3
from contextlib import suppress
from typing import Literal

from shapes import Note, Verdict, WorkbenchError
from state import State

# A proposal waits for a click or was refused by the checks; then it goes its way:
# open -> waking -> applied -> undone, or waking -> failed when the new body does not wake.
ProposalStatus = Literal["open", "refused", "waking", "applied", "failed", "undone", "dismissed"]
MessageStatus = Literal["done", "streaming", "stopped", "failed", "interrupted"]
NEW = "New discussion"
TITLE_CHARS = 60


class Discussions:
    """Rows in, rows out; `state` is the database."""

    def __init__(self, state: State) -> None:
        self.state = state

    def all(self) -> list[sqlite3.Row]:
        """Every discussion, the one with the newest message first."""
        return self.state.rows(
            "SELECT d.*, max(m.id) AS last FROM discussion d LEFT JOIN message m"
            " ON m.discussion = d.id GROUP BY d.id ORDER BY last DESC, d.id DESC"
        )

    def start(self) -> int:
        """A discussion to write in: an empty one if there is one, else a new one."""
        empty = [row["id"] for row in self.all() if not row["last"]]
        return empty[0] if empty else self.state.insert("discussion", title=NEW)

    def get(self, discussion: int) -> sqlite3.Row:
        return self._one("discussion", discussion)

    def message(self, message: int) -> sqlite3.Row:
        return self._one("message", message)

    def messages(self, discussion: int) -> list[sqlite3.Row]:
        return self.state.rows("SELECT * FROM message WHERE discussion = ? ORDER BY id", discussion)

    def add(
        self,
        discussion: int,
        role: str,
        content: str,
        status: MessageStatus = "done",
        key: str | None = None,
    ) -> int | None:
        """Store a message; returns its id, or None when its key was stored before."""
        title = self.get(discussion)["title"]
        values = {"role": role, "content": content, "status": status, "key": key}
        with suppress(sqlite3.IntegrityError):
            row = self.state.insert("message", discussion=discussion, pid=os.getpid(), **values)
            if role == "user" and title == NEW:
                title = " ".join(content.split())[:TITLE_CHARS]
                self.state.amend("discussion", discussion, title=title)
            return row
        return None

    def mend(self) -> None:
        """Say of replies whose process has died that they were interrupted; their words stay."""
        for row in self.state.rows("SELECT id, pid FROM message WHERE status = 'streaming'"):
            try:
                os.kill(row["pid"], 0)  # asks only whether it lives
            except ProcessLookupError:
                note = "The program ended while this was written. Ask again to get the rest."
                self.state.amend("message", row["id"], status="interrupted", note=note)

    # -- proposals -----------------------------------------------------------------------------

    def propose(self, message: int, edit: str, verdict: Verdict) -> int:
        """Store an edit with its verdict as it is now."""
        return self.state.insert("proposal", message=message, edit=edit, **_judged(verdict))

    def judge(self, proposal: int, verdict: Verdict) -> None:
        """Store a newer verdict about the same edit."""
        self.state.amend("proposal", proposal, **_judged(verdict))

    def verdict(self, row: sqlite3.Row) -> Verdict:
        """The stored verdict of a proposal (without the files' new texts)."""
        detail = json.loads(row["detail"])
        notes = tuple(Note(*note) for note in detail["notes"])
        return Verdict(row["status"] != "refused", detail["reason"], (), notes, detail["diff"])

    def proposal(self, proposal: int) -> sqlite3.Row:
        """A proposal with the discussion and the model of its message."""
        return self._one("proposal", proposal)

    def proposals(self, **where: object) -> list[sqlite3.Row]:
        """Those of a `message`, of a `status`, of a `commit_sha`."""
        ((column, value),) = where.items()
        sql = f"SELECT id FROM proposal WHERE {column} = ? ORDER BY id"
        return [self.proposal(row["id"]) for row in self.state.rows(sql, value)]

    def _one(self, table: str, number: int) -> sqlite3.Row:
        more, join = "", ""
        if table == "proposal":
            more, join = ", m.discussion, m.model, m.facts", "JOIN message m ON m.id = t.message"
        found = self.state.rows(f"SELECT t.*{more} FROM {table} t {join} WHERE t.id = ?", number)
        if not found:
            raise WorkbenchError(f"There is no {table} {number}.", "Choose one from the page.")
        return found[0]


def _judged(verdict: Verdict) -> dict[str, str]:
    """The columns of a verdict. `sha` is what a click on Apply is bound to: exactly the diff that
    was shown."""
    notes = [[note.check, note.ok, note.text] for note in verdict.notes]
    detail = {"reason": verdict.reason, "diff": verdict.diff, "notes": notes}
    sha = hashlib.sha256(verdict.diff.encode("utf-8", "surrogateescape")).hexdigest()
    status: ProposalStatus = "open" if verdict.ok else "refused"
    return {"sha": sha, "status": status, "detail": json.dumps(detail)}

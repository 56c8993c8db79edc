"""Discussions, their messages and the edits proposed in them, kept in the database.

Knows nothing of models or pages. Invariant: a message is stored before anything is done about it,
and a key is stored once, so that a page may send again what it is not sure was received.
"""

import hashlib
import json
import os
import sqlite3
from dataclasses import asdict, replace
from typing import Literal

from shapes import Note, Verdict, WorkbenchError
from state import State

# A proposal is open or refused, then dismissed, superseded or waking; from there applied or failed
# (the new body did not wake), and perhaps undone.
MessageStatus = Literal["done", "streaming", "stopped", "failed", "interrupted"]
NEW = "New discussion"
TITLE_CHARS = 60


class Discussions:
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
        return _only(self.state.rows("SELECT * FROM discussion WHERE id = ?", discussion))

    def message(self, message: int) -> sqlite3.Row:
        return _only(self.state.rows("SELECT * FROM message WHERE id = ?", message))

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
        """The new message's id, or None when its key was stored before."""
        if key and self.state.rows("SELECT 1 FROM message WHERE key = ?", key):
            return None
        if role == "user" and self.get(discussion)["title"] == NEW:
            title = " ".join(content.split())[:TITLE_CHARS]
            self.state.amend("discussion", discussion, title=title)
        values = {"role": role, "content": content, "status": status, "key": key}
        return self.state.insert("message", discussion=discussion, pid=os.getpid(), **values)

    def mend(self) -> None:
        """Say of replies whose process has died that they were interrupted."""
        for row in self.state.rows("SELECT id, pid FROM message WHERE status = 'streaming'"):
            try:
                os.kill(row["pid"], 0)  # asks only whether it lives
            except ProcessLookupError:
                note = "The program ended while this was written. Ask again to get the rest."
                self.state.amend("message", row["id"], status="interrupted", note=note)

    def propose(self, message: int, edit: str, verdict: Verdict) -> int:
        return self.state.insert("proposal", message=message, edit=edit, **_judged(verdict))

    def judge(self, proposal: int, verdict: Verdict) -> None:
        """Store what a check found. Once parts are chosen, where they first went stays known."""
        row = self.proposal(proposal)
        placed = [note for note in self.verdict(row).notes if note.check == "placed"]
        if placed and row["edit"].startswith("diff --git "):
            rest = [note for note in verdict.notes if note.check != "placed"]
            verdict = replace(verdict, notes=placed + rest)
        self.state.amend("proposal", proposal, **_judged(verdict))

    def verdict(self, row: sqlite3.Row) -> Verdict:
        """The stored verdict of a proposal (without the files' new texts)."""
        detail = json.loads(row["detail"])
        detail["notes"] = [Note(**note) for note in detail["notes"]]
        return Verdict(row["status"] != "refused", **detail)

    def proposal(self, proposal: int) -> sqlite3.Row:
        return _only(self.proposals(id=proposal))

    def proposals(self, **where: object) -> list[sqlite3.Row]:
        """Those of an `id`, a `message`, a `status` or a `commit_sha`, with the discussion and the
        model of their message."""
        ((column, value),) = where.items()
        return self.state.rows(
            "SELECT p.*, m.discussion, m.model, m.facts FROM proposal p"
            f" JOIN message m ON m.id = p.message WHERE p.{column} = ? ORDER BY p.id",
            value,
        )


def _only(rows: list[sqlite3.Row]) -> sqlite3.Row:
    if not rows:
        raise WorkbenchError("This discussion or edit is not there.", "Choose one from the page.")
    return rows[0]


def _judged(verdict: Verdict) -> dict[str, str]:
    """The columns of a verdict. `sha` binds a click on Apply to the diff that was shown."""
    notes = [asdict(note) for note in verdict.notes]
    detail = json.dumps({"reason": verdict.reason, "diff": verdict.diff, "notes": notes})
    sha = hashlib.sha256(verdict.diff.encode("utf-8", "surrogateescape")).hexdigest()
    return {"sha": sha, "status": "open" if verdict.ok else "refused", "detail": detail}

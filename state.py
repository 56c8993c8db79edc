"""One SQLite database: dict-like state, and the tables that discussions live in.

Knows nothing of what the rows mean. Invariant: a write that returned survives a kill of the
process, and two processes (the old body and the new) may use the same file at once.
"""

import hashlib
import json
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path

from shapes import WorkbenchError

# Each entry runs once, in order, inside one transaction (PRAGMA user_version counts them). Only
# ever add tables and columns: the body that is rolled back to must still read the file.
MIGRATIONS = [
    """
    CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT);
    CREATE TABLE IF NOT EXISTS discussion (
        id INTEGER PRIMARY KEY, title TEXT, created TEXT DEFAULT (datetime()));
    CREATE TABLE IF NOT EXISTS message (
        id INTEGER PRIMARY KEY, discussion INTEGER REFERENCES discussion, role TEXT, content TEXT,
        status TEXT, model TEXT DEFAULT '', note TEXT DEFAULT '', facts TEXT DEFAULT '{}',
        pid INTEGER, key TEXT UNIQUE, created TEXT DEFAULT (datetime()));
    CREATE INDEX IF NOT EXISTS message_of ON message (discussion, id);
    CREATE TABLE IF NOT EXISTS proposal (
        id INTEGER PRIMARY KEY, message INTEGER REFERENCES message, edit TEXT, sha TEXT,
        status TEXT, detail TEXT, branch TEXT DEFAULT '', commit_sha TEXT, error TEXT DEFAULT '');
    CREATE INDEX IF NOT EXISTS proposal_of ON proposal (message);
    """
]


def home(root: Path) -> Path:
    """The folder for all of a repository that is not in its tree; made when missing."""
    from platformdirs import user_data_path

    base = Path(os.environ.get("WORKBENCH_HOME") or user_data_path("workbench"))
    folder = base / f"{root.name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise WorkbenchError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            "Set WORKBENCH_HOME to a folder that you may write to.",
        ) from error
    return folder


def token(folder: Path) -> str:
    """The secret that a page or a script must show to change anything, in a file that only this
    user can read."""
    place = folder / "token"
    with tempfile.NamedTemporaryFile("w", dir=folder) as fresh, suppress(FileExistsError):
        fresh.write(secrets.token_urlsafe(32))
        fresh.flush()
        os.link(fresh.name, place)  # whole at once: nobody may ever read half a secret
    return place.read_text()


class State(MutableMapping[str, object]):
    """Settings as a plain dict of JSON values, and rows by SQL; for any thread."""

    def __init__(self, folder: Path) -> None:
        path = folder / "workbench.db"
        try:
            self._db = sqlite3.connect(
                path, timeout=5, isolation_level=None, check_same_thread=False
            )
            self._db.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                self._db.execute(f"PRAGMA {pragma}")
            done = self._db.execute("PRAGMA user_version").fetchone()[0]
            for number, script in enumerate(MIGRATIONS[done:], done + 1):
                self._db.executescript(
                    f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT"
                )
        except sqlite3.Error as error:
            raise WorkbenchError(
                f"The database {path} cannot be opened: {error}.",
                "Check the folder's permissions and free space; move the file away to start anew.",
            ) from error

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self._db.execute(sql, values).fetchall()

    def insert(self, table: str, **values: object) -> int:
        """Add a row; returns its id. Table and column names come from our code only."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        return self._db.execute(sql, tuple(values.values())).lastrowid or 0

    def amend(self, table: str, row_id: int, **values: object) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(f"UPDATE {table} SET {names} WHERE id = ?", (*values.values(), row_id))

    def __getitem__(self, key: str) -> object:
        found = self.rows("SELECT value FROM setting WHERE key = ?", key)
        if not found:
            raise KeyError(key)
        return json.loads(found[0]["value"])

    def __setitem__(self, key: str, value: object) -> None:
        sql = "INSERT OR REPLACE INTO setting VALUES (?, ?)"
        self.rows(sql, key, json.dumps(value))

    def __delitem__(self, key: str) -> None:
        if not self.rows("DELETE FROM setting WHERE key = ? RETURNING key", key):
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter([row["key"] for row in self.rows("SELECT key FROM setting ORDER BY key")])

    def __len__(self) -> int:
        return self.rows("SELECT count(*) FROM setting")[0][0]

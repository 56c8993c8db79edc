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
from contextlib import closing, suppress
from pathlib import Path

from shapes import WorkbenchError

FILE = "workbench.db"
# Each entry runs once, in order (PRAGMA user_version counts them). Only ever add tables and
# columns: the body that is rolled back to must still read the file.
MIGRATIONS = [
    """
    CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT);
    CREATE TABLE discussion (
        id INTEGER PRIMARY KEY, title TEXT, created TEXT DEFAULT (datetime()));
    CREATE TABLE message (
        id INTEGER PRIMARY KEY, discussion INTEGER REFERENCES discussion, role TEXT, content TEXT,
        status TEXT, model TEXT DEFAULT '', note TEXT DEFAULT '', facts TEXT DEFAULT '{}',
        pid INTEGER, key TEXT UNIQUE, created TEXT DEFAULT (datetime()));
    CREATE INDEX message_of ON message (discussion, id);
    CREATE TABLE proposal (
        id INTEGER PRIMARY KEY, message INTEGER REFERENCES message, edit TEXT, sha TEXT,
        status TEXT, detail TEXT, branch TEXT DEFAULT '', commit_sha TEXT, error TEXT DEFAULT '');
    """,
    """
    ALTER TABLE proposal ADD COLUMN left_out TEXT DEFAULT '';
    """,
    """
    CREATE TABLE briefing (
        id INTEGER PRIMARY KEY, discussion INTEGER REFERENCES discussion, sent BLOB);
    """,
]


def home(root: Path, base: str | Path = "") -> Path:
    """The folder for all of a repository that is not in its tree; made when missing."""
    from platformdirs import user_data_path

    base = Path(base or os.environ.get("WORKBENCH_HOME") or user_data_path("workbench"))
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
    """The secret to show for any change, in a file that only this user can read."""
    place = folder / "token"
    with tempfile.NamedTemporaryFile("w", dir=folder) as fresh, suppress(FileExistsError):
        fresh.write(secrets.token_urlsafe(32))
        fresh.flush()
        os.link(fresh.name, place)  # whole at once: nobody may ever read half a secret
    return place.read_text()


class State(MutableMapping[str, object]):
    """Settings as a plain dict of JSON values, and rows by SQL; for any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder, path = folder, folder / FILE
        try:
            self._db = sqlite3.connect(
                path, timeout=5, isolation_level=None, check_same_thread=False
            )
            self._db.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute("BEGIN IMMEDIATE")  # another process may be opening it
            done = self._db.execute("PRAGMA user_version").fetchone()[0]
            for statement in ";".join(MIGRATIONS[done:]).split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {max(done, len(MIGRATIONS))}")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise WorkbenchError(
                f"The database {path} cannot be opened: {error}.",
                "Check the folder's permissions and free space; move the file away to start anew.",
            ) from error

    def copy(self, folder: Path) -> Path:
        """A database of the same rows, for another to try things on."""
        place = folder / FILE
        with closing(sqlite3.connect(place)) as other:
            self._db.backup(other)
        return place

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self._db.execute(sql, values).fetchall()

    def insert(self, table: str, **values: object) -> int:
        """Add a row; returns its id. Table and column names come from our code only."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id"
        return self.rows(sql, *values.values())[0]["id"]

    def amend(self, table: str, row_id: int, **values: object) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        self.rows(f"UPDATE {table} SET {names} WHERE id = ?", *values.values(), row_id)

    def __getitem__(self, key: str) -> object:
        for row in self.rows("SELECT value FROM setting WHERE key = ?", key):
            return json.loads(row["value"])
        raise KeyError(key)

    def __setitem__(self, key: str, value: object) -> None:
        self.rows("INSERT OR REPLACE INTO setting VALUES (?, ?)", key, json.dumps(value))

    def __delitem__(self, key: str) -> None:
        if not self.rows("DELETE FROM setting WHERE key = ? RETURNING key", key):
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter([row["key"] for row in self.rows("SELECT key FROM setting ORDER BY key")])

    def __len__(self) -> int:
        return len(list(iter(self)))

"""Owns the listening socket, watches the source, and swaps one body for the next.

One body is `live`, one may be `next`, others drain. Invariant: what serves stays until its
successor has proved itself.
"""

import asyncio
import json
import os
import py_compile
import re
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

WATCHED = re.compile(r"[^.].*\.(py|css|js)")
PRUNED = re.compile(r"\..*|node_modules|__pycache__|tests|benchmarks")
POLL_S = 0.3  # a tree that stays the same so long is done changing
RETRY_S = 1.0
STOP_S = 5.0  # for bodies to finish
KEPT_BYTES = 64 * 1024  # a traceback is at the end of stderr
TROUBLE = "HTTP/1.0 503 Mend it\nRefresh: 2\nContent-Type: text/plain; charset=utf-8\n\n"

Tree = dict[str, bytes]  # path relative to the root: content


def read_tree(root: Path) -> Tree:
    tree = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not PRUNED.fullmatch(name)]
        for path in (Path(folder, name) for name in names if WATCHED.fullmatch(name)):
            if path.is_file():
                tree[str(path.relative_to(root))] = path.read_bytes()
    return tree


@dataclass(eq=False)
class Child:
    """A body made of `tree`. A message is one JSON object a line."""

    tree: Tree
    changed: list[str]
    stage: str = "syntax"
    words: bytes = b""
    process: Process | None = None

    async def start(self, command: list[str], root: Path, listener: socket.socket) -> None:
        self.stage = "boot"
        ours, theirs = socket.socketpair()
        fds = listener.fileno(), theirs.fileno()
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                "--fds",
                *map(str, fds),
                cwd=root,
                stdin=DEVNULL,
                stderr=PIPE,
                pass_fds=fds,
                start_new_session=True,
            )
        self.echo = asyncio.create_task(self._echo(self.process.stderr))
        self.reader, self.writer = await asyncio.open_unix_connection(sock=ours)

    async def _echo(self, stderr: asyncio.StreamReader) -> None:
        while data := await stderr.read(65536):
            self.words = (self.words + data)[-KEPT_BYTES:]
            with suppress(OSError):  # nobody may be reading any more
                os.write(2, data)

    def tell(self, **message: object) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def hear(self, key: str) -> object:
        """The value of the next message that has `key`; EOFError at the end."""
        while line := await self.reader.readline():
            message = json.loads(line)
            if key in message:
                return message[key]
        raise EOFError

    async def check_health(self, port: object, host: str) -> None:
        self.stage = "health"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /healthz HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        status = (await reader.readline()).decode()
        writer.close()
        if " 200 " not in status:
            raise ValueError(f"its health check answered {status}")

    async def end(self) -> None:
        if self.process:
            with suppress(OSError):  # only zombies are left
                os.killpg(self.process.pid, signal.SIGKILL)
            await asyncio.wait([self.echo], timeout=1.0)
            await self.process.wait()


@dataclass
class Parent:
    """Keeps `command`, run in `root`, serving. A first body that serves is told to `on_ready` with
    its address; all else to `report`."""

    command: list[str]
    root: Path
    on_ready: Callable[[str], None]
    report: Callable[[str], None]
    boot_s: float = 30.0
    lives: dict[Child, asyncio.Task[None]] = field(default_factory=dict)
    live: Child | None = None
    next: Child | None = None
    newest: Tree = field(default_factory=dict)  # none: compare at once

    def serve(self, host: str, port: int) -> None:
        """Until SIGTERM or SIGINT; OSError when the port cannot be had."""
        with socket.create_server((host, port), backlog=2048) as self.listener:
            # accepted ones inherit it
            self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.host = "{}:{}".format(*self.listener.getsockname())
            asyncio.run(self.run())

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        watching = self.loop.create_task(self.watch())
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, watching.cancel)
        await asyncio.wait([watching])
        self.lives.pop(self.next, None)
        self.live = self.next = None
        for child in self.lives:
            child.writer.write_eof()
        await asyncio.wait([watching, *self.lives.values()], timeout=STOP_S)
        # asyncio.run cancels what is left, which kills it

    async def watch(self) -> None:
        before = {}
        while True:
            try:
                now = read_tree(self.root)
                if not self.newest or now == before != self.newest:
                    self.compare(now)
                before = now
            except Exception as error:  # whatever it is, what lives goes on serving
                self.say(repr(error))
            await asyncio.sleep(POLL_S)

    def compare(self, now: Tree) -> None:
        """Start a body of this tree, unless one is live or on its way."""
        if self.next and self.next.tree != now:
            if self.next.stage == "go":
                return  # the next poll comes here again
            self.lives[self.next].cancel()
            self.next = None
        if self.live and self.live.tree == now:
            self.live.tell(unchanged=True)
        elif not self.next:
            before = self.live.tree if self.live else self.newest or now
            changed = sorted({path for path, _ in now.items() ^ before.items()})
            self.next = Child(now, changed)
            self.lives[self.next] = self.loop.create_task(self.attend(self.next))
        self.newest = now

    async def attend(self, child: Child) -> None:
        try:
            for path in child.changed:
                if path.endswith(".py") and path in child.tree:
                    # by date, two saves in one second would be one
                    mode = py_compile.PycInvalidationMode.CHECKED_HASH
                    py_compile.compile(self.root / path, doraise=True, invalidation_mode=mode)
            async with asyncio.timeout(self.boot_s):
                await child.start(self.command, self.root, self.listener)
                await child.check_health(await child.hear("ready"), self.host)
                self.loop.remove_reader(self.listener)
                child.stage = "go"
                child.tell(go=True)
                await child.hear("live")
            if self.live:
                self.live.tell(drain=True)
            self.live, self.next = child, None
            self.loop.call_soon(self.on_ready, f"http://{self.host}/")
            self.on_ready = lambda _: self.report("The new version is serving.")
            while True:
                await child.hear("look")
                self.newest = {}
        except Exception as error:
            why = str(error) or f"it ended, or was not ready within {self.boot_s:g} s"
        finally:
            self.lives.pop(child, None)
            await child.end()
        if child is self.live:
            self.live = None
            self.say(f"The body is gone: {why}")
        elif child is self.next:
            self.next = None
            self.say(f"The new version did not wake: {why}")
            words = f"{why}\n{child.words.decode(errors='replace')}".replace(f"{self.root}/", "")
            if self.live:
                return self.live.tell(failed={"stage": child.stage, "error": words})
            self.loop.add_reader(self.listener, self.admit, words)
        else:
            return
        await asyncio.sleep(RETRY_S)
        self.newest = {}

    def say(self, words: str) -> None:
        self.loop.call_soon(self.report, words)  # where an error of its own ends nothing

    def admit(self, trouble: str) -> None:
        visitor, _ = self.listener.accept()
        with visitor, suppress(OSError):
            visitor.settimeout(0.2)  # it may never say anything
            visitor.recv(65536)
            visitor.sendall(f"{TROUBLE}Mend this file and save.\n{trouble}".encode())

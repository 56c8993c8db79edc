"""Owns the listening socket, watches the source, and swaps one body for the next.

                saved               ready, healthy: go            serves on for `proof_s`
    (source) ----------> next ------------------------> live --------------------------> proven
                          |    (the live one is drained   |                 (the kept one ends)
       failed, or saved   |     and becomes kept)         | died, or hangs
       anew: it ends      v                               v
                 the live one is told          kept: goes again, and is told
                                               none: `rescue`, then another try, ever later

The others end once what they have begun is finished. Invariants: what serves stays until its
successor has proved itself; a body that failed is not tried again before the source changes, as
long as another can serve.
"""

import asyncio
import json
import math
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
RETRY_S, MAX_RETRY_S = 1.0, 30.0
PULSE_S = 2.0  # between two looks at the health of what is not proven
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
    port: object = 0
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

    async def check_health(self, host: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
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
    its address; all else to `report`. `confirm` is called when a body is proven; `rescue` when none
    wakes, and returns what it has done to the source, if anything."""

    command: list[str]
    root: Path
    on_ready: Callable[[str], None]
    report: Callable[[str], None]
    confirm: Callable[[], object] = str
    rescue: Callable[[], str] = str
    boot_s: float = 30.0
    proof_s: float = 60.0
    lives: dict[Child, asyncio.Task[None]] = field(default_factory=dict)
    live: Child | None = None
    next: Child | None = None
    kept: Child | None = None
    newest: Tree = field(default_factory=dict)  # none: compare at once
    falls: int = 0  # since a body was proven
    trouble: dict[str, object] = field(default_factory=dict)  # for the body that comes up next

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
        self.live = self.next = self.kept = None
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
                child.port = await child.hear("ready")
                child.stage = "health"
                await child.check_health(self.host)
                self.loop.remove_reader(self.listener)
                child.stage = "go"
                child.tell(go=True, **self.trouble)
                await child.hear("live")
            if self.live:
                self.live.tell(drain=True)
            self.keep(self.live)
            self.live, self.next, self.trouble = child, None, {}
            child.stage = "serving"
            self.loop.call_soon(self.on_ready, f"http://{self.host}/")
            self.on_ready = lambda _: self.report("The new version is serving.")
            await self.follow(child)
        except Exception as error:
            why = str(error) or f"it ended, or was not ready within {self.boot_s:g} s"
        finally:
            self.lives.pop(child, None)
            await child.end()
        words = f"{why}\n{child.words.decode(errors='replace')}".replace(f"{self.root}/", "")
        trouble = {"failed": {"stage": child.stage, "error": words}}
        if child is self.live:
            self.say(f"The body is gone: {why}")
            self.live, self.kept = self.kept, None
            if self.live:
                return self.live.tell(go=True, **trouble)
        elif child is self.next:
            self.next = None
            self.say(f"The new version did not wake: {why}")
            if self.live:
                return self.live.tell(**trouble)
            self.loop.add_reader(self.listener, self.admit, words)
        else:
            self.kept = None if child is self.kept else self.kept
            return
        self.falls += 1
        again = child.stage == "serving" and self.falls == 1  # it may have been bad luck
        if done := "" if again else await self.call(self.rescue):
            self.trouble, self.newest = trouble, {}
            return self.say(done)
        await asyncio.sleep(min(RETRY_S * self.falls**2, MAX_RETRY_S))
        self.newest = {}

    def keep(self, child: Child | None) -> None:
        """Have this one ready to go again, and let the one before it end."""
        if self.kept:
            self.kept.writer.write_eof()
        self.kept = child

    async def follow(self, child: Child) -> None:
        """Hear a body that serves, and ask for its health, until it fails."""
        proof = self.loop.time() + self.proof_s
        while True:
            pause_s, limit_s = (PULSE_S, 5 * PULSE_S) if self.kept else (self.boot_s,) * 2
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await child.hear("look")
                    self.newest = {}
            if child is self.live:
                async with asyncio.timeout(limit_s):
                    await child.check_health(self.host)
                if self.loop.time() > proof and child.tree == self.newest:
                    proof, self.falls = math.inf, 0
                    self.keep(None)
                    await self.call(self.confirm)

    async def call(self, outside: Callable[[], str]) -> str:
        try:
            return await asyncio.to_thread(outside)
        except Exception as error:  # of git, say: what lives goes on serving
            self.say(str(error))
            return ""

    def say(self, words: str) -> None:
        self.loop.call_soon(self.report, words)  # where an error of its own ends nothing

    def admit(self, trouble: str) -> None:
        visitor, _ = self.listener.accept()
        with visitor, suppress(OSError):
            visitor.settimeout(0.2)  # it may never say anything
            visitor.recv(65536)
            visitor.sendall(f"{TROUBLE}Mend this file and save.\n{trouble}".encode())

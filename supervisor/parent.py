"""Owns the listening socket, watches the source, and swaps one body for the next.

    syntax > boot > (ready) health > (200, go) called > (live) live > (drain) draining
    one that fails on the way is killed, and the live one is told `failed`;
    when the live one ends, the next is made at once, later with back-off

At most one body is on its way (`next`), one is `live`, any number drain. A newer tree replaces a
`next` that was not called. Knows nothing of pages, models or git: standard library only, imported
up front. Invariant: what serves stays until its successor has proved itself.
"""

import asyncio
import html
import json
import os
import py_compile
import re
import signal
import socket
import sys
import time
import traceback
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

WATCHED = re.compile(r"[^.].*\.(py|css|js)")
PRUNED = {"node_modules", "__pycache__", "tests", "benchmarks"}
POLL_S = 0.3  # a tree that is the same twice in a row is done changing
STOP_S = 5.0  # for bodies to finish
KEPT_BYTES = 64 * 1024  # of stderr: a traceback is at its end
PAGE = """HTTP/1.1 503 Service Unavailable\r
Content-Type: text/html; charset=utf-8\r
Connection: close\r
\r
<meta http-equiv="refresh" content="2"><h1>Workbench cannot wake</h1>
<p>Mend the file and save; this page reloads by itself.</p><pre>{}</pre>
"""

Tree = dict[str, bytes]  # path relative to the root: content


def run(
    command: list[str],
    root: Path,
    host: str,
    port: int,
    *,
    on_ready: Callable[[str], None],
    report: Callable[[str], None],
    boot_s: float = 30.0,
) -> int:
    """Keep `command` serving until SIGTERM or SIGINT; returns the exit status.

    OSError, before anything is started, when the port cannot be had. `on_ready` gets the address
    once; `report` gets a sentence at a time.
    """
    with socket.create_server((host, port), backlog=2048) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones inherit it
        asyncio.run(_Parent(command, root.resolve(), listener, on_ready, report, boot_s).run())
    return 0


def read_tree(root: Path) -> Tree:
    """Every watched file, but for names that start with a dot."""
    tree = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name[0] != "." and name not in PRUNED]
        for path in (Path(folder, name) for name in names if WATCHED.fullmatch(name)):
            if path.is_file():
                tree[str(path.relative_to(root))] = path.read_bytes()
    return tree


def check_syntax(path: Path) -> None:
    """ValueError with file, line, source line and caret when Python cannot compile it."""
    # Checked by date, old bytecode is fresh to Python when a file is saved twice in one second.
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    try:
        py_compile.compile(str(path), doraise=True, invalidation_mode=mode)
    except py_compile.PyCompileError as error:
        raise ValueError(f"{path}:\n{error}") from error


class Child:
    """A body made of `tree`. Its control channel carries one JSON object a line."""

    def __init__(self, tree: Tree, before: Tree) -> None:
        self.tree = tree
        self.changed = sorted({path for path, _ in tree.items() ^ before.items()})
        self.born = time.monotonic()
        self.stage = "syntax"
        self.called = False  # told to go: it may be accepting callers
        self.words = b""
        self.process: Process | None = None

    async def start(self, command: list[str], root: Path, listener: socket.socket) -> None:
        self.stage = "boot"
        ours, theirs = socket.socketpair()
        with theirs:
            fds = listener.fileno(), theirs.fileno()
            options = "--listen-fd {} --control-fd {}".format(*fds).split()
            self.process = await asyncio.create_subprocess_exec(
                *command,
                *options,
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
                sys.stderr.buffer.write(data)
                sys.stderr.flush()

    def tell(self, **message: object) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def hear(self, key: str) -> object:
        """The value of the next message that has `key`; EOFError when none can come."""
        while line := await self.reader.readline():
            message = json.loads(line)
            if key in message:
                return message[key]
        raise EOFError

    async def check_health(self, port: object) -> None:
        """ValueError unless GET /healthz on its private port answers 200."""
        self.stage = "health"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
        answer = await reader.read()
        writer.close()
        if b" 200 " not in answer[:13]:
            raise ValueError(f"its health check answered {answer.decode()}")

    async def end(self) -> str:
        """Kill what is left of its process group; returns how it ended."""
        if not self.process:
            return ""
        with suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left
            os.killpg(self.process.pid, signal.SIGKILL)
        await asyncio.wait([self.echo], timeout=1.0)
        return f"it ended with exit status {await self.process.wait()}"


@dataclass
class _Parent:
    command: list[str]
    root: Path
    listener: socket.socket
    on_ready: Callable[[str], None] | None
    report: Callable[[str], None]
    boot_s: float
    lives: dict[Child, asyncio.Task[None]] = field(default_factory=dict)
    live: Child | None = None
    next: Child | None = None
    newest: Tree = field(default_factory=dict)  # as last compared
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # to compare at once
    stopping: bool = False
    trouble: str = ""  # why there can be no body
    falls: int = 0

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.address = "{}:{}".format(*self.listener.getsockname())
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.stop)
        self.asked.set()
        await self.watch()
        for child, life in self.lives.items():
            if child is self.next:
                life.cancel()
            else:
                child.writer.write_eof()
        self.live = self.next = None
        if self.lives:
            await asyncio.wait(self.lives.values(), timeout=STOP_S)
        # asyncio.run cancels what is left, which kills it

    def stop(self) -> None:
        """Let every body finish; asked twice, kill them."""
        for life in self.lives.values() if self.stopping else ():
            life.cancel()
        self.stopping = True
        self.asked.set()

    async def watch(self) -> None:
        """Compare the tree whenever it has changed, and when asked; until the stop."""
        before = {}
        while not self.stopping:
            try:
                now = read_tree(self.root)
                if self.asked.is_set() or now == before != self.newest:
                    self.asked.clear()
                    await self.compare(now)
                before = now
            except Exception:  # whatever it is, what lives goes on serving
                self.say(traceback.format_exc())
                await asyncio.sleep(POLL_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.asked.wait(), POLL_S)

    async def compare(self, now: Tree) -> None:
        """Start a body of this tree, unless one is live or on its way."""
        if self.next and self.next.called:
            return  # too late to call it back; the next poll comes here again
        if self.next and self.next.tree != now:
            life, self.next = self.lives[self.next], None
            life.cancel()
            await asyncio.wait([life])
        if self.live and self.live.tree == now:
            self.live.tell(unchanged=True)
        elif not self.next:
            self.next = Child(now, self.live.tree if self.live else self.newest or now)
            self.lives[self.next] = asyncio.create_task(self.attend(self.next))
        self.newest = now

    async def attend(self, child: Child) -> None:
        """A body's life from its start to its end."""
        why = ""
        try:
            for path in child.changed:
                if path.endswith(".py") and path in child.tree:
                    check_syntax(self.root / path)
            if self.live:
                self.live.tell(swapping=True)
            async with asyncio.timeout(self.boot_s):
                await child.start(self.command, self.root, self.listener)
                await child.check_health(await child.hear("ready"))
                child.called = True
                self.loop.remove_reader(self.listener)
                child.tell(go=True)
                await child.hear("live")
            self.swap(child)
            while True:
                await child.hear("look")
                self.asked.set()
        except TimeoutError:
            why = f"it was not ready within {self.boot_s:g} s"
        except Exception as error:
            why = str(error)
        finally:
            ended = await child.end()
            del self.lives[child]
        if child not in (self.live, self.next):
            return
        why = why or ended
        words = f"{why}\n{child.words.decode(errors='replace')}".replace(f"{self.root}/", "")
        if child is self.live:
            self.live = None
            self.say(f"The body is gone: {why}")
        else:
            self.next = None
            self.say(f"The new version did not wake: {why}")
            if self.live:
                about = {"stage": child.stage, "error": words, "paths": child.changed}
                self.live.tell(failed=about)
                return
            self.trouble = words
            self.loop.add_reader(self.listener, self.admit)
        self.loop.call_later(min(10.0, self.falls / 2), self.asked.set)
        self.falls += 1

    def swap(self, child: Child) -> None:
        if self.live:
            self.live.tell(drain=True)
            self.falls = 0
        self.live, self.next = child, None
        if self.on_ready:
            self.loop.call_soon(self.on_ready, f"http://{self.address}/")
            self.on_ready = None
        else:
            self.say(f"The new version is serving, {time.monotonic() - child.born:.1f} s.")

    def say(self, words: str) -> None:
        self.loop.call_soon(self.report, words)  # where an error of its own ends nothing

    def admit(self) -> None:
        visitor, _ = self.listener.accept()
        visitor.setblocking(False)
        self.loop.create_task(self.answer(visitor))

    async def answer(self, visitor: socket.socket) -> None:
        with visitor, suppress(OSError):
            request = (await self.loop.sock_recv(visitor, 65536)).lower()
            ours = f"\r\nhost: {self.address}\r\n".encode() in request  # else by DNS rebinding
            page = PAGE.format(html.escape(self.trouble if ours else ""))
            await self.loop.sock_sendall(visitor, page.encode())

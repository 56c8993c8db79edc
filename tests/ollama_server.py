"""A small server that speaks Ollama's protocol, for tests: scripted replies, recorded requests.

    with OllamaServer() as server:  # also: OllamaServer(["gemma3:4b", FakeModel("qwen3:8b")])
        server.say("Hello there.")  # a word a line; a list is sent as it is, see Step
        ...                         # talk to server.url, or start a process with OLLAMA_HOST
        server.chats[-1].body       # what was asked

Replies are used in the order in which they were said; then comes "Hello from the scripted model."
Like Ollama, it sends nothing before the first step that says something, keeps to num_ctx and
num_predict, and refuses a prompt that is too long. It knows nothing of the product.
"""

import contextlib
import hashlib
import json
import math
import re
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

# One step of a reply: str, one piece of the answer; dict, any object as one line; bytes, raw;
# float, seconds to wait; an Event, a wait until the test sets it.
Step = str | dict[str, Any] | bytes | float | threading.Event
TOKEN_CHARS = 4


@dataclass
class FakeModel:
    name: str = "gemma3:4b"
    capabilities: tuple[str, ...] = ("completion",)
    trained_window: int = 131_072
    size: int = 3_338_801_804
    remote_host: str = ""
    old: bool = False  # listed as Ollama before 0.30 did: neither capabilities nor window
    version: int = 1  # another one gives another digest

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.name} {self.version}".encode()).hexdigest()


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    at: float = field(default_factory=time.monotonic)
    gone: threading.Event = field(default_factory=threading.Event)  # the client went away
    done: threading.Event = field(default_factory=threading.Event)  # answered, or given up

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)


@dataclass
class Reply:
    steps: list[Step]
    end: Literal["done", "silent", "drop"]
    done_reason: str
    status: int
    error: str | dict[str, Any]
    pause_s: float
    counts: dict[str, int]


class ClientGone(Exception):
    pass


class OllamaServer:
    def __init__(self, models: Sequence[str | FakeModel] = ("gemma3:4b",), port: int = 0) -> None:
        self.models = [FakeModel(model) if isinstance(model, str) else model for model in models]
        self.port = port
        self.version = "0.33.3"
        self.requests: list[Request] = []
        self.loads: list[tuple[str, int]] = []  # (model, num_ctx) of every load and reload
        self.loaded: dict[str, int] = {}  # what /api/ps tells: model, context_length
        self.held = ""  # the prompt in the cache
        self.instead: dict[str, bytes] = {}  # path: what to answer, where Ollama would not
        self._script: deque[Reply] = deque()
        self._changed = threading.Condition()
        self._http: _Server | None = None

    # -- for tests -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[Request]:
        return [request for request in self.requests if request.path == "/api/chat"]

    def say(
        self,
        steps: str | Sequence[Step] = "",
        *,
        end: Literal["done", "silent", "drop"] = "done",
        done_reason: str = "stop",
        status: int = 200,
        error: str | dict[str, Any] = "",
        pause_s: float = 0.0,
        **counts: int,
    ) -> None:
        """Script the next reply. `status` other than 200 sends `error` alone. `end` "silent"
        closes the stream without a done line, "drop" cuts the connection. `pause_s` comes before
        every step. `counts` replace the metrics of the last line; 0 leaves one out."""
        if isinstance(steps, str):
            steps = re.findall(r"\s*\S+|\s+", steps)
        reply = Reply(list(steps), end, done_reason, status, error, pause_s, counts)
        self._script.append(reply)

    def wait_for_chats(self, count: int, timeout_s: float = 10.0) -> list[Request]:
        """The chat requests, as soon as there are so many."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.chats) >= count, timeout_s):
                raise TimeoutError(f"{len(self.chats)} chat requests, not {count}")
        return self.chats

    def start(self) -> "OllamaServer":
        """Listen; after stop(), on the same port, with nothing loaded."""
        self._http = _Server(self)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Go away at once, as a killed server does: open connections break."""
        if self._http:
            self._http.shutdown()
            self._http.server_close()
            self._http.cut_all()
            self._http = None
        self.loaded.clear()
        self.held = ""

    def __enter__(self) -> "OllamaServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- for the handler -----------------------------------------------------------------------

    def record(self, request: Request) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def find(self, name: object) -> FakeModel | None:
        return next(
            (m for m in self.models if name in (m.name, m.name.removesuffix(":latest"))), None
        )

    def next_reply(self) -> Reply:
        if not self._script:
            self.say("Hello from the scripted model.")
        return self._script.popleft()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, owner: OllamaServer) -> None:
        self.owner = owner
        self.sockets: set[socket.socket] = set()
        super().__init__(("127.0.0.1", owner.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        self.sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        self.sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that goes away is no error here."""

    def cut_all(self) -> None:
        for each in list(self.sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def answer(self, method: str) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked = Request(method, self.path, dict(self.headers), raw)
        owner = self.server.owner
        owner.record(self.asked)
        try:
            if not self.local():
                return self.send(403, b"")
            if self.path in owner.instead:
                return self.send(200, owner.instead[self.path], "application/json")
            match method, self.path:
                case "GET" | "HEAD", "/":
                    return self.send(200, b"Ollama is running", "text/plain; charset=utf-8")
                case "GET", "/api/version":
                    return self.send_json(200, {"version": owner.version})
                case "GET", "/api/tags":
                    return self.send_json(200, {"models": [listed(m) for m in owner.models]})
                case "GET", "/api/ps":
                    running = [(owner.find(name), size) for name, size in owner.loaded.items()]
                    return self.send_json(200, {"models": [ran(m, n) for m, n in running if m]})
                case "POST", "/api/show" | "/api/chat":
                    pass
                case _:
                    return self.send(404, b"404 page not found", "text/plain")
            try:
                body = json.loads(raw)
            except ValueError as error:
                return self.send_json(400, {"error": str(error)})
            model = owner.find(body.get("model"))
            if not model:
                name = body.get("model")
                return self.send_json(404, {"error": f"model '{name}' not found"})
            if self.path == "/api/show":
                return self.send_json(200, shown(model))
            self.chat(model, body)
        except (ClientGone, OSError):
            self.asked.gone.set()
            self.close_connection = True
        finally:
            self.asked.done.set()

    def local(self) -> bool:
        """Ollama on a loopback address answers 403 to foreign Host and Origin headers."""
        hosts = [urlsplit(f"//{self.headers.get('Host', '')}").hostname]
        if origin := self.headers.get("Origin"):
            hosts.append(urlsplit(origin).hostname)
        return all(host in ("127.0.0.1", "localhost", "0.0.0.0", "::1") for host in hosts)

    # -- /api/chat -----------------------------------------------------------------------------

    def chat(self, model: FakeModel, body: dict[str, Any]) -> None:
        owner, options = self.server.owner, body.get("options") or {}
        if "completion" not in model.capabilities:
            return self.send_json(400, {"error": f'"{model.name}" does not support chat'})
        if body.get("think") and "thinking" not in model.capabilities:
            return self.send_json(400, {"error": f'"{model.name}" does not support thinking'})
        keep_alive = body.get("keep_alive")
        if isinstance(keep_alive, str) and not re.fullmatch(
            r"-?(\d+(\.\d+)?(ms|s|m|h))+", keep_alive
        ):
            return self.send_json(400, {"error": f'time: missing unit in duration "{keep_alive}"'})
        window = max(4, min(options.get("num_ctx") or 4096, model.trained_window))
        loading = owner.loaded.get(model.name) != window
        if loading:
            owner.loads.append((model.name, window))
            owner.loaded[model.name] = window
        messages = body.get("messages") or []
        if not messages:
            line = {"model": model.name, "message": {"role": "assistant", "content": ""}}
            return self.send_json(200, line | {"done": True, "done_reason": "load"})

        reply = owner.next_reply()
        if reply.status != 200:
            error = {"error": reply.error} if isinstance(reply.error, str) else reply.error
            return self.send_json(reply.status, error)
        text = "".join(f"{m.get('role')}\n{m.get('content')}\n" for m in messages)
        read = math.ceil(len(text) / TOKEN_CHARS)
        if read >= window:
            if body.get("truncate") is False:
                return self.send_json(400, too_long(read, window))
            if body.get("shift") is False:
                words = "the prompt is longer than the context length currently available"
                return self.send_json(400, {"error": f"{words} to the model; shorten it"})
            read = window // 2 + 2
        kept = len(common(owner.held, text)) // TOKEN_CHARS
        owner.held = text
        self.speak(model, reply, read, kept, window, options.get("num_predict") or -1)

    def speak(
        self, model: FakeModel, reply: Reply, read: int, kept: int, window: int, limit: int
    ) -> None:
        self.begun, wrote, reason = False, 0, reply.done_reason
        started = time.monotonic_ns()
        for step in reply.steps:
            self.wait(reply.pause_s)
            if isinstance(step, float | int | threading.Event):
                self.wait(step)
            elif isinstance(step, bytes):
                self.send_part(step)
            else:
                if wrote == limit or read + wrote >= window:
                    reason = "length"
                    break
                message = {"message": {"role": "assistant", "content": step}}
                wrote += isinstance(step, str) or "message" in step
                self.send_line(model, message if isinstance(step, str) else step)
        if reply.end == "drop":
            self.begin()
            self.connection.shutdown(socket.SHUT_RDWR)
            raise ClientGone
        if reply.end == "done":
            took = time.monotonic_ns() - started
            counts = {"total_duration": took + 3, "load_duration": 1, "prompt_eval_count": read}
            counts |= {"prompt_eval_cached_count": kept, "prompt_eval_duration": 1}
            counts |= {"eval_count": wrote, "eval_duration": took + 1} | reply.counts
            end = {"message": {"role": "assistant", "content": ""}, "done": True}
            end |= {"done_reason": reason} | {key: n for key, n in counts.items() if n}
            self.send_line(model, end)
        self.begin()
        self.wfile.write(b"0\r\n\r\n")

    def wait(self, until: float | threading.Event) -> None:
        """Sleep, or stand before a gate, but notice at once when the client goes away."""
        gate = until if isinstance(until, threading.Event) else threading.Event()
        end = math.inf if gate is until else time.monotonic() + float(until)  # type: ignore[arg-type]
        while True:
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise ClientGone
            left = end - time.monotonic()
            if left <= 0 or gate.wait(min(0.01, left)):
                return

    # -- sending -------------------------------------------------------------------------------

    def begin(self) -> None:
        if not self.begun:
            self.begun = True
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

    def send_part(self, data: bytes) -> None:
        self.begin()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def send_line(self, model: FakeModel, line: dict[str, Any]) -> None:
        if "error" not in line:
            line = {"model": model.name, "created_at": "2026-11-21T12:00:00Z", "done": False} | line
        # as Go writes it: UTF-8, not escaped
        self.send_part(
            json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        )

    def send_json(self, status: int, body: dict[str, Any]) -> None:
        self.send(status, json.dumps(body).encode(), "application/json; charset=utf-8")

    def send(self, status: int, data: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.asked.method != "HEAD":
            self.wfile.write(data)


def details(model: FakeModel) -> dict[str, Any]:
    family = re.split(r"[\d:.-]", model.name)[0]
    known = {"format": "gguf", "family": family, "families": [family]}
    known |= {"parameter_size": "4.3B", "quantization_level": "Q4_K_M"}
    return known if model.old else known | {"context_length": model.trained_window}


def listed(model: FakeModel) -> dict[str, Any]:
    entry = {"name": model.name, "model": model.name, "modified_at": "2026-11-01T12:00:00Z"}
    entry |= {"size": model.size, "digest": model.digest, "details": details(model)}
    if model.remote_host:
        entry |= {"remote_host": model.remote_host, "remote_model": model.name}
    return entry if model.old else entry | {"capabilities": list(model.capabilities)}


def shown(model: FakeModel) -> dict[str, Any]:
    info = {"general.architecture": "fake", "fake.context_length": model.trained_window}
    known = {"details": details(model), "model_info": info, "template": "{{ .Prompt }}"}
    return known | {"capabilities": list(model.capabilities), "parameters": ""}


def ran(model: FakeModel, window: int) -> dict[str, Any]:
    entry = {"name": model.name, "model": model.name, "size": model.size, "digest": model.digest}
    entry |= {"details": details(model), "expires_at": "2036-11-21T12:30:00Z"}
    return entry | {"size_vram": model.size, "context_length": window}


def too_long(read: int, window: int) -> dict[str, str]:
    """llama-server's 400: JSON in a string inside JSON."""
    words = f"request ({read} tokens) exceeds the available context size ({window} tokens)"
    error = {"code": 400, "message": f"{words}, try increasing it"}
    error |= {"type": "exceed_context_size_error", "n_prompt_tokens": read, "n_ctx": window}
    return {"error": json.dumps({"error": error})}


def common(one: str, other: str) -> str:
    end = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    return one[:end]

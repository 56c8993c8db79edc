"""Words from an Ollama server, through its own `/api/chat`.

Does not know what a prompt is made of. Invariant: every request to a model carries the same window
and forbids cutting: left to itself, Ollama drops the front of a long prompt and answers fluently.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass

import httpx

from shapes import Finish, Piece, Prompt, WorkbenchError

HOST = re.compile(r"(?ai)(?:(https?)://)?([\w.-]*|\[[\da-f:.]+])(?::(\d{1,5}))?(/[\w./-]*)?")
COMPARABLE_TOKENS = 500  # below, the model's own template blurs the count
HINTS = {
    404: "Choose another model, or fetch this one with `ollama pull`.",
    500: "Try a smaller model or window, and see Ollama's log.",
}
MISSHAPEN = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class PromptTooLong(WorkbenchError):
    """`prompt_tokens` is the model's own count, else the least that it can be."""

    def __init__(self, prompt_tokens: int, window_tokens: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens:,} tokens; the window holds {window_tokens:,}.",
            "Shorten it, or choose a larger window.",
        )
        self.prompt_tokens = prompt_tokens


@dataclass(frozen=True)
class Calibration:
    """How many tokens a model, by its digest, counts for one of our estimate. `values` is plain
    data to keep: a mean, then the latest ratios."""

    values: dict[str, list[float]]

    def ratio(self, digest: str) -> float:
        """What to multiply an estimate by so that it seldom falls short."""
        return max(self.values.get(digest, [1.25]))

    def learn(self, digest: str, estimate_tokens: int, counted_tokens: int | None) -> None:
        if counted_tokens and estimate_tokens >= COMPARABLE_TOKENS:
            ratio = min(max(counted_tokens / estimate_tokens, 0.7), 2.0)
            mean, *latest = self.values.get(digest, [ratio])
            self.values[digest] = [mean + 0.3 * (ratio - mean), *latest[-4:], ratio]


@dataclass(frozen=True)
class ModelInfo:
    name: str
    digest: str
    size_bytes: int
    trained_window_tokens: int  # 4,096 when Ollama does not say
    capabilities: tuple[str, ...]


@dataclass(frozen=True)
class Ollama:
    """The server that OLLAMA_HOST names, else this machine's. It may come and go."""

    host: str | None = None  # in place of OLLAMA_HOST
    stall_s: float = 600.0  # a long prompt is given longer
    tick_s: float = 1.0

    @property
    def url(self) -> str:
        return address(os.environ.get("OLLAMA_HOST", "") if self.host is None else self.host)

    async def models(self) -> list[ModelInfo]:
        """What can chat on this machine. WorkbenchError when no Ollama answers."""
        infos = []
        async with self.asking() as client:
            response = await client.get("/api/tags")
            if response.is_error:
                raise refusal(response.status_code, response.text)
            for entry in response.json()["models"]:
                name, able = entry["name"], entry.get("capabilities")
                window = entry.get("details", {}).get("context_length")
                if able is None and (shown := await self.says("show", name)):  # before 0.30
                    able, facts = shown.capabilities, shown.modelinfo
                    window = facts.get(f"{facts.get('general.architecture')}.context_length")
                able = tuple(able or ["completion"])
                # a cloud model would carry the repository off this machine
                cloud = entry.get("remote_host") or name.endswith(("-cloud", ":cloud"))
                if "completion" in able and not cloud:
                    digest, size = entry["digest"], entry["size"]
                    infos.append(ModelInfo(name, digest, size, int(window or 4096), able))
        return infos

    async def chat(self, name: str, window_tokens: int) -> "OllamaModel":
        """A shapes.Model. Its window is at most what it was trained for."""
        for info in await self.models():
            if info.name == name:
                window_tokens = min(window_tokens, info.trained_window_tokens)
                return OllamaModel(info.name, info.digest, window_tokens, info.capabilities, self)
        raise refusal(404, f"there is no model {name!r}")

    async def says(self, verb: str, *arguments: str) -> object:
        """What Ollama's own client gives, None when it fails."""
        import ollama

        headers = {"Authorization": "none"}  # else it sends OLLAMA_API_KEY, to any host
        client = ollama.AsyncClient(self.url, headers=headers, timeout=10, trust_env=False)
        with suppress(httpx.HTTPError, OSError, ollama.ResponseError, *MISSHAPEN):
            async with client:
                return await getattr(client, verb)(*arguments)

    @asynccontextmanager
    async def asking(self, silence_s: float = 10) -> AsyncIterator[httpx.AsyncClient]:
        """A client whose failures are sentences; it obeys no proxy."""
        url, timeout = self.url, httpx.Timeout(silence_s, connect=2)
        try:
            async with httpx.AsyncClient(base_url=url, timeout=timeout, trust_env=False) as client:
                yield client
        except (httpx.HTTPError, httpx.InvalidURL, *MISSHAPEN) as error:
            match error:
                case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.InvalidURL():
                    said = f"is not running at {url}"
                case httpx.TimeoutException():
                    said = "was silent for too long"
                case _:
                    said = "broke off or made no sense"
            hint = "Start it with `ollama serve`, or use the built-in model."
            raise WorkbenchError(f"Ollama {said}.", hint) from error


@dataclass(frozen=True)
class OllamaModel:
    """Closing its stream closes the connection, which stops Ollama's work."""

    name: str
    digest: str
    window_tokens: int
    capabilities: tuple[str, ...]
    server: Ollama

    async def stream(self, prompt: Prompt) -> AsyncIterator[Piece | Finish]:
        import ollama

        body = {
            "model": self.name,
            "messages": [asdict(message) for message in prompt.messages],
            "truncate": False,
            "shift": False,
            "keep_alive": "30m",
            "options": {"num_ctx": self.window_tokens, "num_predict": prompt.reply_tokens},
        }
        if "thinking" in self.capabilities:
            # thoughts can use up num_predict before the first word; who must think ignores this
            body["think"] = False
        loop, last, answered = asyncio.get_running_loop(), {}, False
        started = loop.time()
        try:
            reading_s = prompt.estimate_tokens / 20  # on a small computer
            async with self.server.asking(self.server.stall_s + reading_s) as client:
                # as ASCII: it can carry file names that UTF-8 cannot
                request = client.build_request("POST", "/api/chat", content=json.dumps(body))
                sending = loop.create_task(client.send(request, stream=True))
                try:
                    # not even headers come before the first word
                    while not sending.done():
                        waited = f"{loop.time() - started:.0f} s"
                        yield Piece(f"{self.name} is loading or reading … {waited}", "phase")
                        await asyncio.wait({sending}, timeout=self.server.tick_s)
                finally:
                    sending.cancel()
                    await asyncio.wait({sending})
                response = sending.result()
                if response.is_error:
                    text = (await response.aread()).decode()
                    raise refusal(response.status_code, text, self.window_tokens)
                async for line in lines(response):
                    last = json.loads(line)
                    if "error" in last:
                        raise refusal(500, line.decode())
                    part = ollama.ChatResponse.model_validate_json(line)
                    if part.message.thinking:
                        yield Piece(part.message.thinking, "thinking")
                    if part.message.content:
                        answered = True
                        yield Piece(part.message.content)
                    if part.done:
                        break
                yield await self._finish(prompt, last, answered)
        except WorkbenchError as error:
            if not answered:
                raise
            yield Finish("incomplete", note=str(error))

    async def _finish(self, prompt: Prompt, last: dict, answered: bool) -> Finish:
        read, wrote = last.get("prompt_eval_count"), last.get("eval_count")
        reason, notes = "stop", []
        if last.get("done_reason") == "length":
            reason = "length"
            limit = f"its limit of {prompt.reply_tokens:,} tokens"
            full = wrote and wrote < prompt.reply_tokens
            notes.append(f"The reply reached {'the end of the window' if full else limit}.")
        if not (answered and last.get("done")):
            reason = "incomplete"
            notes.append("The reply broke off." if answered else "The model gave no answer.")
        # a cut keeps half a window; tokenizers differ by less
        sent = prompt.estimate_tokens
        if read and sent >= COMPARABLE_TOKENS and read < 0.7 * sent:
            notes.append(f"The model read {read:,} tokens of about {sent:,}: some may be lost.")
        for entry in getattr(await self.server.says("ps"), "models", ()):
            window = entry.context_length or self.window_tokens
            if entry.name == self.name and window != self.window_tokens:
                notes.append(f"Its window is {window:,} tokens, not {self.window_tokens:,}.")
        cached = last.get("prompt_eval_cached_count")
        return Finish(reason, read, wrote, cached, " ".join(notes))


def address(host: str) -> str:
    """The URL for any form of OLLAMA_HOST that Ollama takes; else WorkbenchError."""
    found = HOST.fullmatch(host.strip(" \"'"))
    if not found or int(found[3] or 0) > 65_535:
        raise WorkbenchError(f"OLLAMA_HOST is {host!r}.", "Write it like 127.0.0.1:11434.")
    scheme, name, port, path = found.groups("")
    if name in ("", "0.0.0.0", "[::]"):  # where to listen, not to call
        name = "127.0.0.1"
    port = port or {"": 11434, "http": 80, "https": 443}[scheme.lower()]
    return f"{scheme or 'http'}://{name}:{port}{path.rstrip('/')}"


async def lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Split at newlines; httpx also splits at characters that a JSON string may hold."""
    rest = b""
    async for data in response.aiter_bytes():
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line


def refusal(status: int, text: str, window_tokens: int = 0) -> WorkbenchError:
    if status == 400 and "context" in text:
        found = dict(re.findall(r"(n_prompt_tokens|n_ctx)\W+(\d{1,9})", text))
        window_tokens = int(found.get("n_ctx", window_tokens))
        return PromptTooLong(int(found.get("n_prompt_tokens", window_tokens + 1)), window_tokens)
    with suppress(*MISSHAPEN):
        text = json.loads(text)["error"]
        text = json.loads(text)["error"]["message"]  # llama-server's
    hint = HINTS.get(status, "Ask again in a moment, or see Ollama's log.")
    return WorkbenchError(f"Ollama answered {status}: {text[:300]}.", hint)

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

HOST = re.compile(r"(?ai)(?:(https?)://)?([\w.-]*|\[[\da-f:.]+])(:\d{1,5})?(/[\w./-]*)?")
COMPARABLE_TOKENS = 500  # below, the model's own template blurs the count
MISSHAPEN = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
FAILURES = {
    httpx.ConnectError: "is not running",
    httpx.ConnectTimeout: "is not running",
    httpx.ReadTimeout: "was silent for too long",
}


class PromptTooLong(WorkbenchError):
    """`prompt_tokens` is the model's own count."""

    def __init__(self, prompt_tokens: int, window_tokens: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens:,} tokens; the window holds {window_tokens:,}.",
            "Shorten it, or choose a larger window.",
        )
        self.prompt_tokens = prompt_tokens


@dataclass(frozen=True)
class Calibration:
    """How many tokens a model, by its digest, counts for one of our estimate. `values` is plain
    data to keep: the latest ratios."""

    values: dict[str, list[float]]

    def ratio(self, digest: str) -> float:
        """What to multiply an estimate by so that it seldom falls short."""
        return max(self.values.get(digest, [1.25]))

    def learn(self, digest: str, estimate_tokens: int, counted_tokens: int | None) -> None:
        if counted_tokens and estimate_tokens >= COMPARABLE_TOKENS:
            ratio = min(max(counted_tokens / estimate_tokens, 0.7), 2.0)
            self.values[digest] = [*self.values.get(digest, [])[-4:], ratio]


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

    host: str = ""
    stall_s: float = 600.0  # a long prompt is given longer
    tick_s: float = 1.0

    async def models(self) -> list[ModelInfo]:
        """What can chat on this machine. WorkbenchError when no Ollama answers."""
        infos = []
        async with self.asking() as client:
            for entry in (await client.get("/api/tags")).json()["models"]:
                name, able = entry["name"], tuple(entry.get("capabilities") or ["completion"])
                # a cloud model would carry the repository off this machine
                cloud = entry.get("remote_host") or name.endswith(("-cloud", ":cloud"))
                if "completion" in able and not cloud:
                    window = int(entry.get("details", {}).get("context_length") or 4096)
                    infos.append(ModelInfo(name, entry["digest"], entry["size"], window, able))
        return infos

    async def chat(self, name: str, window_tokens: int) -> "OllamaModel":
        """A shapes.Model. Its window is at most what it was trained for."""
        for info in await self.models():
            if info.name == name:
                window_tokens = min(window_tokens, info.trained_window_tokens)
                return OllamaModel(**vars(info), window_tokens=window_tokens, server=self)
        raise refusal(404, f"there is no model {name!r}")

    @asynccontextmanager
    async def asking(self, silence_s: float = 10) -> AsyncIterator[httpx.AsyncClient]:
        """A client whose failures are sentences; it obeys no proxy."""
        url = address(self.host or os.environ.get("OLLAMA_HOST", ""))
        try:
            async with httpx.AsyncClient(
                base_url=url,
                timeout=httpx.Timeout(silence_s, connect=2),
                trust_env=False,
                verify=url.startswith("https"),  # reading certificates takes 13 ms
            ) as client:
                yield client
        except (httpx.HTTPError, httpx.InvalidURL, *MISSHAPEN) as error:
            said = FAILURES.get(type(error), "broke off or made no sense")
            hint = "Start it with `ollama serve`, or use the built-in model."
            raise WorkbenchError(f"Ollama {said} at {url}.", hint) from error


@dataclass(frozen=True)
class OllamaModel(ModelInfo):
    """Closing its stream closes the connection, which stops Ollama's work."""

    window_tokens: int
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
            # thoughts can use up num_predict; a model that must think ignores this
            body["think"] = False
        loop, last, answered = asyncio.get_running_loop(), {}, False
        silence_s = self.server.stall_s + prompt.estimate_tokens / 20  # read on a small computer
        try:
            async with self.server.asking(silence_s) as client:
                # as ASCII: it can carry file names that UTF-8 cannot
                request = client.build_request("POST", "/api/chat", content=json.dumps(body))
                sending = loop.create_task(client.send(request, stream=True))
                started = loop.time()
                try:
                    # not even headers come before the first word
                    while not sending.done():
                        text = f"{self.name} is loading or reading … {loop.time() - started:.0f} s"
                        yield Piece(text, "phase")
                        await asyncio.wait({sending}, timeout=self.server.tick_s)
                finally:
                    sending.cancel()
                    await asyncio.wait({sending})
                response = sending.result()
                if response.is_error:
                    raise refusal(response.status_code, (await response.aread()).decode())
                rest = b""
                async for data in response.aiter_bytes():
                    # httpx would also split at characters that a JSON string may hold
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        last = json.loads(line)
                        if "error" in last:
                            raise refusal(500, line.decode())
                        said = ollama.ChatResponse.model_validate_json(line).message
                        if said.thinking:
                            yield Piece(said.thinking, "thinking")
                        if said.content:
                            answered = True
                            yield Piece(said.content)
                yield await self._finish(prompt, last, answered)
        except WorkbenchError as error:
            if not answered:
                raise
            yield Finish("incomplete", note=str(error))

    async def _finish(self, prompt: Prompt, last: dict, answered: bool) -> Finish:
        reason, notes = "stop", []
        if last.get("done_reason") == "length":
            reason = "length"
            notes.append(f"It reached {prompt.reply_tokens:,} tokens or the end of the window.")
        if not (answered and last.get("done")):
            reason = "incomplete"
            notes.append("The reply broke off." if answered else "The model gave no answer.")
        sent, read = prompt.estimate_tokens, last.get("prompt_eval_count")
        # a cut keeps half a window; tokenizers differ by less
        if read and sent >= COMPARABLE_TOKENS and read < 0.7 * sent:
            notes.append(f"The model read {read:,} tokens of about {sent:,}: some may be lost.")
        with suppress(WorkbenchError):
            async with self.server.asking() as client:
                for entry in (await client.get("/api/ps")).json()["models"]:
                    held = entry["context_length"]
                    if entry["name"] == self.name and held != self.window_tokens:
                        notes.append(f"Its window is {held:,} tokens, not {self.window_tokens:,}.")
        cached = last.get("prompt_eval_cached_count")
        return Finish(reason, read, last.get("eval_count"), cached, " ".join(notes))


def address(host: str) -> str:
    """The URL for any form of OLLAMA_HOST that Ollama takes; else WorkbenchError."""
    found = HOST.fullmatch(host.strip(" \"'"))
    if not found or int((found[3] or ":0")[1:]) > 65_535:
        raise WorkbenchError(f"OLLAMA_HOST is {host!r}.", "Write it like 127.0.0.1:11434.")
    scheme, name, port, path = found.groups("")
    if name in ("", "0.0.0.0", "[::]"):  # where to listen, not to call
        name = "127.0.0.1"
    port = port or ("" if scheme else ":11434")
    return f"{scheme or 'http'}://{name}{port}{path.rstrip('/')}"


def refusal(status: int, text: str) -> WorkbenchError:
    """What an answer that is an error means."""
    if found := re.search(r"n_prompt_tokens\W+(\d{1,9})\W+n_ctx\W+(\d{1,9})", text):
        return PromptTooLong(int(found[1]), int(found[2]))
    with suppress(*MISSHAPEN):
        text = json.loads(text)["error"]
        text = json.loads(text)["error"]["message"]  # llama-server's
    hint = "Ask again in a moment, choose a smaller model, or fetch this one with `ollama pull`."
    return WorkbenchError(f"Ollama answered {status}: {text[:300]}.", hint)

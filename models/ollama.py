"""Words from an Ollama server, through its own `/api/chat`.

Does not know what a prompt is made of. Invariant: every request names the window and forbids
cutting, or Ollama would drop the front of a long prompt.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace

import httpx

from shapes import Finish, Piece, Prompt, WorkbenchError, frozen

MISSHAPEN = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class PromptTooLong(WorkbenchError):
    def __init__(self, prompt_tokens: int, window_tokens: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens:,} tokens; the window holds {window_tokens:,}.",
            "Shorten it, or choose a larger window.",
        )
        self.prompt_tokens = prompt_tokens


@frozen
class Calibration:
    """How many tokens a model counts for one of our estimate."""

    values: dict[str, list[float]]  # the latest ratios of a digest

    def ratio(self, digest: str) -> float:
        return max(self.values.get(digest, [1.25]))

    def learn(self, digest: str, estimate_tokens: int, counted_tokens: int | None) -> None:
        if counted_tokens and estimate_tokens >= 500:  # else the template blurs the count
            ratio = min(max(counted_tokens / estimate_tokens, 0.7), 2.0)
            self.values[digest] = [*self.values.get(digest, [])[-4:], ratio]


@frozen
class Ollama:
    """The server that OLLAMA_HOST names, else this machine's."""

    host: str = ""
    silence_s: float = 7200.0  # a long prompt takes hours to read
    tick_s: float = 1.0

    async def models(self) -> list["OllamaModel"]:
        """What can chat on this machine, each with all of its window."""
        found = []
        async with self.asking() as client:
            for entry in (await client.get("/api/tags")).json()["models"]:
                name, able = entry["name"], tuple(entry.get("capabilities") or ["completion"])
                # a cloud model would take the repository off this machine
                cloud = entry.get("remote_host") or name.endswith(("-cloud", ":cloud"))
                if "completion" in able and not cloud:
                    window = int(entry.get("details", {}).get("context_length") or 4096)
                    found.append(OllamaModel(name, entry["digest"], window, able, window, self))
        return found

    async def chat(self, name: str, window_tokens: int) -> "OllamaModel":
        for model in await self.models():
            if model.name == name:
                return replace(model, window_tokens=min(window_tokens, model.window_tokens))
        raise refusal(f"There is no model {name!r}.")

    @asynccontextmanager
    async def asking(self, silence_s: float = 10) -> AsyncIterator[httpx.AsyncClient]:
        """A client whose failures are sentences."""
        host = self.host or os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434"
        try:
            wait = httpx.Timeout(silence_s, connect=2)
            async with httpx.AsyncClient(
                base_url=address(host), timeout=wait, trust_env=False
            ) as client:
                yield client
        except (httpx.HTTPError, httpx.InvalidURL, ExceptionGroup, *MISSHAPEN) as error:
            gone = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            said = f"Ollama {'is not running' if gone else 'was silent, or broke off,'} at {host}."
            raise WorkbenchError(said, "Start it with `ollama serve`.") from error


@frozen
class OllamaModel:
    name: str
    digest: str
    trained_window_tokens: int
    capabilities: tuple[str, ...]
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
            body["think"] = False
        last, answered = {}, False
        try:
            async with self.server.asking(self.server.silence_s) as client:
                # ASCII can carry file names that UTF-8 cannot
                request = client.build_request("POST", "/api/chat", content=json.dumps(body))
                sending = asyncio.create_task(client.send(request, stream=True))
                waited_s = 0.0
                try:
                    yield Piece(json.dumps(body | {"messages": []}), "request")
                    while not sending.done():  # nothing comes before the first word
                        yield Piece(f"{self.name} loads or reads … {waited_s:.0f} s", "phase")
                        await asyncio.wait({sending}, timeout=self.server.tick_s)
                        waited_s += self.server.tick_s
                finally:
                    sending.cancel()
                    await asyncio.wait({sending})
                response, rest = sending.result(), b""
                if response.is_error:
                    raise refusal((await response.aread()).decode())
                async for data in response.aiter_bytes():
                    # httpx would also split at characters that a JSON string may hold
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        last = json.loads(line)
                        if "error" in last:
                            raise refusal(line.decode())
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
        reason, note = "stop", ""
        if not (answered and last.get("done")):
            reason, note = "incomplete", "The reply broke off, or there is none."
        elif last.get("done_reason") == "length":
            reason, note = "length", "It reached its limit or the end of the window."
        sent, read = prompt.estimate_tokens, last.get("prompt_eval_count")
        if read and read + 500 < 0.7 * sent:  # tokenizers differ by less
            note += f" It read only {read:,} of about {sent:,} tokens."
        with suppress(WorkbenchError):
            async with self.server.asking() as client:
                for entry in (await client.get("/api/ps")).json()["models"]:
                    held = entry["context_length"]
                    if entry["name"] == self.name and held != self.window_tokens:
                        note += f" Its window was {held:,} tokens."
        counts = read, last.get("eval_count"), last.get("prompt_eval_cached_count")
        return Finish(reason, *counts, note.strip())


def address(host: str) -> httpx.URL:
    url = httpx.URL(host if "://" in host else f"//{host}")
    port = url.port or (None if url.scheme else 11434)
    host = url.host.replace("0.0.0.0", "") or "127.0.0.1"  # 0.0.0.0 is only to bind
    return url.copy_with(scheme=url.scheme or "http", host=host, port=port)


def refusal(text: str) -> WorkbenchError:
    if found := re.search(r"n_prompt_tokens\W+(\d{1,9})\W+n_ctx\W+(\d{1,9})", text):
        return PromptTooLong(*map(int, found.groups()))
    words = re.sub(r"[^\w']*\"[^\w']*", " ", text[:300])  # JSON, or JSON in JSON
    return WorkbenchError(f"Ollama refused. {words}", "Try a smaller model, or `ollama pull` it.")

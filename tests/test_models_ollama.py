"""The model under Ollama: what is asked of it, what becomes of its words, and of every failure."""

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import aclosing, suppress

import httpx
import ollama
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models import Calibration, Ollama, PromptTooLong
from models.ollama import OllamaModel, address
from shapes import Finish, Message, Piece, Prompt, WorkbenchError
from tests.ollama_server import FakeModel, OllamaServer

NAME = "gemma3:4b"
WINDOW = 8192
SHARED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def ollama_server() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        yield server


def prompt(*words: str, reply_tokens: int = 500, estimate_tokens: int = 10) -> Prompt:
    messages = tuple(Message("user", text) for text in words or ("Hello?",))
    return Prompt(messages, WINDOW, reply_tokens, estimate_tokens)


def get(
    server: OllamaServer, name: str = NAME, window: int = WINDOW, **waits: float
) -> OllamaModel:
    return asyncio.run(Ollama(server.url, **waits).chat(name, window))


def ask(model: OllamaModel, what: Prompt | None = None) -> list[Piece | Finish]:
    async def collect() -> list[Piece | Finish]:
        return [piece async for piece in model.stream(what or prompt())]

    return asyncio.run(collect())


def text_of(pieces: list[Piece | Finish], kind: str = "text") -> str:
    return "".join(p.text for p in pieces if isinstance(p, Piece) and p.kind == kind)


def finish_of(pieces: list[Piece | Finish]) -> Finish:
    """The last piece is a Finish and no other is."""
    assert [isinstance(piece, Finish) for piece in pieces].index(True) == len(pieces) - 1
    return pieces[-1]


def thought(text: str) -> dict[str, dict[str, str]]:
    return {"message": {"role": "assistant", "content": "", "thinking": text}}


# -- a reply -----------------------------------------------------------------------------------


def test_a_reply_streams_piece_by_piece_while_the_model_still_writes(
    ollama_server: OllamaServer,
) -> None:
    """A1"""
    gate = threading.Event()
    ollama_server.say(["One, ", "two, ", gate, "three."])

    async def read() -> list[str]:
        seen = []
        async for piece in get_model.stream(prompt()):
            if isinstance(piece, Piece) and piece.kind == "text":
                seen.append(piece.text)
                if len(seen) == 2:
                    assert not ollama_server.chats[0].done.is_set()
                    gate.set()
        return seen

    get_model = get(ollama_server)
    assert asyncio.run(read()) == ["One, ", "two, ", "three."]


def test_a_reply_ends_with_the_models_own_counts(ollama_server: OllamaServer) -> None:
    model = get(ollama_server)
    ollama_server.say(["Yes", "."], prompt_eval_count=77, prompt_eval_cached_count=33)
    pieces = ask(model)
    assert text_of(pieces) == "Yes."
    assert finish_of(pieces) == Finish("stop", 77, 2, 33)


def test_a_count_that_ollama_does_not_give_is_unknown_and_not_zero(
    ollama_server: OllamaServer,
) -> None:
    ollama_server.say("Yes.", prompt_eval_count=0, prompt_eval_cached_count=0, eval_count=0)
    assert finish_of(ask(get(ollama_server))) == Finish("stop")


def test_a_wait_for_the_first_word_shows_its_seconds(ollama_server: OllamaServer) -> None:
    """Ollama sends nothing until the model is loaded and has read the prompt."""
    gate = threading.Event()
    ollama_server.say([gate, "At last."])
    model = get(ollama_server, tick_s=0.01)
    phases = []

    async def read() -> None:
        async for piece in model.stream(prompt()):
            if isinstance(piece, Piece) and piece.kind == "phase":
                phases.append(piece.text)
                if len(phases) == 3:
                    gate.set()

    asyncio.run(read())
    assert len(phases) >= 3
    assert all(NAME in text and text.endswith(" s") for text in phases)


def test_thoughts_are_told_from_words(ollama_server: OllamaServer) -> None:
    ollama_server.say([thought("Hmm. "), thought("So"), "Yes."])
    pieces = ask(get(ollama_server))
    assert text_of(pieces, "thinking") == "Hmm. So"
    assert text_of(pieces) == "Yes."


NEWLINES_OF_OTHERS = "a\x85b\u2028c\u2029d\x1ce\x0bf\x0cg\rh\ni"


@SHARED
@given(
    texts=st.lists(st.text(max_size=20), max_size=8),
    cuts=st.lists(st.integers(0, 1500), max_size=12),
)
@example(texts=[NEWLINES_OF_OTHERS, "é", "🙂"], cuts=list(range(0, 400, 3)))
def test_lines_cut_at_any_byte_give_the_same_pieces(
    texts: list[str], cuts: list[int], shared_server: OllamaServer
) -> None:
    said = [{"role": "assistant", "content": text} for text in (*texts, "")]
    lines = [{"message": message, "done": False} for message in said]
    lines[-1] |= {"done": True, "done_reason": "stop"}
    stream = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
    ends = sorted({0, *(cut % len(stream) for cut in cuts), len(stream)})
    parts = [stream[a:b] for a, b in itertools.pairwise(ends)]
    shared_server.say(parts, end="silent")
    model = OllamaModel(NAME, "", WINDOW, (), WINDOW, Ollama(shared_server.url))
    pieces = ask(model)
    words = [p.text for p in pieces if isinstance(p, Piece) and p.kind == "text"]
    assert words == [text for text in texts if text]
    assert finish_of(pieces).reason == ("stop" if "".join(texts) else "incomplete")


@pytest.fixture(scope="module")
def shared_server() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        yield server


def test_half_a_surrogate_pair_is_not_passed_on(ollama_server: OllamaServer) -> None:
    """It could be neither stored nor sent to a page; Ollama itself never writes one."""
    ollama_server.say(["a", b'{"message":{"role":"assistant","content":"\\ud83d"}}\n', "b"])
    pieces = ask(get(ollama_server))
    assert text_of(pieces) == "a"
    assert finish_of(pieces).reason == "incomplete"


# -- what is asked -----------------------------------------------------------------------------


def test_every_request_names_the_window_and_forbids_cutting(ollama_server: OllamaServer) -> None:
    """L3"""
    model = get(ollama_server)
    assert model.window_tokens == WINDOW
    ask(model, prompt("One?", reply_tokens=300))
    ask(model, prompt("One?", "Two?", reply_tokens=40))
    first, second = (request.body for request in ollama_server.chats)
    assert first == {
        "model": NAME,
        "messages": [{"role": "user", "content": "One?"}],
        "truncate": False,
        "shift": False,
        "keep_alive": "30m",
        "options": {"num_ctx": WINDOW, "num_predict": 300},
    }
    assert second["options"] == {"num_ctx": WINDOW, "num_predict": 40}
    assert ollama_server.loads == [(NAME, WINDOW)]


def test_a_longer_discussion_starts_with_the_same_bytes_so_that_ollama_reuses_its_work(
    ollama_server: OllamaServer,
) -> None:
    model = get(ollama_server)
    start = "the whole source " * 20
    ask(model, prompt(start))
    last = ask(model, prompt(start, "And now?"))
    first, second = (request.raw for request in ollama_server.chats)
    assert second.startswith(first[: first.index(b"source }") if b"source }" in first else 300])
    assert finish_of(last).cached_tokens > 50


def test_a_window_larger_than_the_model_was_trained_for_is_not_asked_for(
    ollama_server: OllamaServer,
) -> None:
    """L3"""
    ollama_server.models = [FakeModel(NAME, trained_window=2048)]
    model = get(ollama_server)
    assert model.window_tokens == 2048
    assert finish_of(ask(model)).note == ""
    assert ollama_server.chats[0].body["options"]["num_ctx"] == 2048


def test_only_models_that_can_think_are_asked_not_to(ollama_server: OllamaServer) -> None:
    ollama_server.models = [FakeModel(NAME), FakeModel("qwen3:8b", ("completion", "thinking"))]
    ask(get(ollama_server))
    ask(get(ollama_server, "qwen3:8b"))
    assert [request.body.get("think") for request in ollama_server.chats] == [None, False]


def test_a_prompt_with_a_file_name_that_is_no_text_can_be_sent(ollama_server: OllamaServer) -> None:
    assert text_of(ask(get(ollama_server), prompt("caf\udce9.py é 🙂")))
    assert "é 🙂" in ollama_server.chats[0].body["messages"][0]["content"]


def test_no_key_no_origin_and_no_proxy(
    ollama_server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "secret-of-the-cloud")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert text_of(ask(get(ollama_server)))
    assert {request.path for request in ollama_server.requests} >= {"/api/chat", "/api/ps"}
    for request in ollama_server.requests:
        assert "Origin" not in request.headers
        assert "secret" not in str(request.headers)


# -- stopping ----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [[], ["One, ", "two, "]], ids=["in the silence", "in mid-reply"])
def test_closing_the_stream_closes_the_connection(
    ollama_server: OllamaServer, steps: list[str]
) -> None:
    """The gate never opens: only the closed connection can end the request."""
    ollama_server.say([*steps, threading.Event(), "never"])
    model = get(ollama_server)

    async def stop() -> bool:
        async with aclosing(model.stream(prompt())) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(ollama_server.wait_for_chats, 1)
                if piece.kind == ("text" if steps else "phase"):
                    break
        running = {getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks()}
        assert "send" not in running  # the request is not left behind
        return await asyncio.to_thread(ollama_server.chats[0].gone.wait, 5)

    assert asyncio.run(stop())


def test_cancelling_the_reader_closes_the_connection(ollama_server: OllamaServer) -> None:
    ollama_server.say([threading.Event(), "never"])
    model = get(ollama_server)

    async def stop() -> bool:
        async def read() -> None:
            async for _ in model.stream(prompt()):
                pass

        reading = asyncio.create_task(read())
        await asyncio.to_thread(ollama_server.wait_for_chats, 1)
        reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled()
        return await asyncio.to_thread(ollama_server.chats[0].gone.wait, 5)

    assert asyncio.run(stop())


# -- failures before the first word ------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (404, "model 'gemma3:4b' not found", "ollama pull"),
        (400, '"gemma3:4b" does not support chat', "does not support chat"),
        (500, "model runner has unexpectedly stopped", "smaller model"),
        (503, "server busy, please try again.  maximum pending requests exceeded", "server busy"),
        (403, "ollama cloud is disabled", "cloud is disabled"),
        (500, '{"error":{"code":500,"message":"inner words"}}', "inner words"),
        (502, "", "refused"),
    ],
)
def test_each_refusal_becomes_a_sentence_and_a_hint(
    ollama_server: OllamaServer, status: int, error: str, expected: str
) -> None:
    model = get(ollama_server)
    ollama_server.say(status=status, error=error)
    with pytest.raises(WorkbenchError) as caught:
        ask(model)
    assert expected in str(caught.value)
    assert caught.value.hint and "{" not in str(caught.value)


def test_a_prompt_that_is_too_long_says_by_how_much(ollama_server: OllamaServer) -> None:
    model = get(ollama_server, window=100)
    with pytest.raises(PromptTooLong) as caught:
        ask(model, prompt("x" * 791))  # with its role, 200 tokens of the server's kind
    assert caught.value.prompt_tokens == 200
    assert "200 tokens" in caught.value.message and "100" in caught.value.message


def test_a_server_that_is_not_running_is_told_and_found_again_without_a_restart(
    ollama_server: OllamaServer,
) -> None:
    """L1"""
    server = Ollama(ollama_server.url)
    model = asyncio.run(server.chat(NAME, WINDOW))
    ollama_server.stop()
    for attempt in (lambda: asyncio.run(server.models()), lambda: ask(model)):
        with pytest.raises(WorkbenchError) as caught:
            attempt()
        assert f"Ollama is not running at {ollama_server.url}" in caught.value.message
        assert "ollama serve" in caught.value.hint
    ollama_server.start()
    assert [info.name for info in asyncio.run(server.models())] == [NAME]
    assert text_of(ask(model)) == "Hello from the scripted model."


def test_a_server_that_stays_silent_is_given_up(ollama_server: OllamaServer) -> None:
    ollama_server.say([threading.Event(), "never"])
    model = get(ollama_server, silence_s=0.05)
    with pytest.raises(WorkbenchError, match="was silent"):
        ask(model, prompt(estimate_tokens=0))


def test_a_model_that_is_not_there_is_named(ollama_server: OllamaServer) -> None:
    with pytest.raises(WorkbenchError, match=r"'llama9:1b'.*ollama pull"):
        get(ollama_server, "llama9:1b")


@pytest.mark.parametrize(
    "steps",
    [
        [{"error": "an error was encountered while running the model"}],
        [b"<html>\n"],
        [b"[]\n"],
        [b"5\n"],
        [b'{"message": null}\n'],
        [b'{"message": {"role": "assistant", "content": 5}}\n'],
        [b"[" * 100_000 + b"\n"],
        [b"\xff\xfe\n"],
    ],
    ids=str,
)
def test_nonsense_before_the_first_word_is_an_error(
    ollama_server: OllamaServer, steps: list
) -> None:
    ollama_server.say(steps)
    with pytest.raises(WorkbenchError) as caught:
        ask(get(ollama_server))
    assert caught.value.hint


def test_a_connection_cut_before_the_first_word_is_an_error(ollama_server: OllamaServer) -> None:
    ollama_server.say([], end="drop")
    with pytest.raises(WorkbenchError, match="broke"):
        ask(get(ollama_server))


# -- failures in mid-reply, and what is wrong with a reply ---------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"steps": ["Half", {"error": "CUDA error: out of memory"}]}, "CUDA error"),
        ({"steps": ["Half", b"{not json}\n"]}, "broke off"),
        ({"steps": ["Half", b'{"message": 5}\n']}, "broke off"),
        ({"steps": ["Half"], "end": "drop"}, "broke off"),
        ({"steps": ["Half"], "end": "silent"}, "broke off"),
        ({"steps": ["Half", b'{"message": {"con'], "end": "silent"}, "broke off"),
    ],
    ids=["error line", "broken line", "odd line", "cut connection", "no done", "half a line"],
)
def test_what_came_before_a_failure_is_kept_and_called_incomplete(
    ollama_server: OllamaServer, script: dict, expected: str
) -> None:
    ollama_server.say(**script)
    pieces = ask(get(ollama_server))
    assert text_of(pieces) == "Half"
    assert finish_of(pieces).reason == "incomplete"
    assert expected in finish_of(pieces).note


def test_a_stall_in_mid_reply_is_incomplete(ollama_server: OllamaServer) -> None:
    ollama_server.say(["Half", threading.Event()])
    pieces = ask(get(ollama_server, silence_s=0.1), prompt(estimate_tokens=0))
    assert text_of(pieces) == "Half"
    assert finish_of(pieces).reason == "incomplete" and "silent" in finish_of(pieces).note


@pytest.mark.parametrize("steps", [[], [thought("Hmm.")]], ids=["", "thoughts"])
def test_a_reply_without_words_is_incomplete(ollama_server: OllamaServer, steps: list) -> None:
    ollama_server.say(steps)
    end = finish_of(ask(get(ollama_server)))
    assert end.reason == "incomplete" and "there is none" in end.note


def test_a_reply_cut_at_its_limit_says_so(ollama_server: OllamaServer) -> None:
    ollama_server.say("one two three four five")
    pieces = ask(get(ollama_server), prompt(reply_tokens=3))
    assert text_of(pieces) == "one two three"
    assert finish_of(pieces).reason == "length"
    assert "limit" in finish_of(pieces).note


def test_a_reply_cut_by_a_full_window_says_so(ollama_server: OllamaServer) -> None:
    ollama_server.say(["word "] * 100)
    pieces = ask(get(ollama_server, window=60), prompt("x" * 200))
    assert finish_of(pieces).reason == "length"
    assert "end of the window" in finish_of(pieces).note


@pytest.mark.parametrize(
    ("counted", "suspect"), [(WINDOW // 2 + 2, True), (300, True), (6600, False), (11_000, False)]
)
def test_a_prompt_that_was_read_only_in_part_is_noticed(
    ollama_server: OllamaServer, counted: int, suspect: bool
) -> None:
    ollama_server.say("A fluent answer.", prompt_eval_count=counted)
    end = finish_of(ask(get(ollama_server), prompt(estimate_tokens=7000)))
    assert ("of about 7,000" in end.note) == suspect


def test_a_window_other_than_the_one_asked_for_is_noticed(ollama_server: OllamaServer) -> None:
    """Another program may have the model loaded with its own window by the time we look."""
    gate = threading.Event()
    ollama_server.say(["Hello", gate, "."])
    model = get(ollama_server)

    async def read() -> Finish:
        async for piece in model.stream(prompt()):
            if piece == Piece("Hello"):
                ollama_server.loaded[NAME] = 4096
                gate.set()
        return piece

    end = asyncio.run(read())
    assert end.reason == "stop"
    assert "4,096" in end.note


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"models": [{"name": 5}]}', b"<html>"])
def test_a_reply_stands_when_its_window_cannot_be_checked(
    ollama_server: OllamaServer, answer: bytes
) -> None:
    ollama_server.instead["/api/ps"] = answer
    assert finish_of(ask(get(ollama_server))).reason == "stop"


# -- the list of models ------------------------------------------------------------------------


def test_the_list_gives_what_a_person_chooses_by(ollama_server: OllamaServer) -> None:
    """L2"""
    ollama_server.models = [FakeModel(), FakeModel("qwen3:8b", ("completion", "thinking"), 40_960)]
    first, second = asyncio.run(Ollama(ollama_server.url).models())
    assert (first.name, first.digest) == (NAME, ollama_server.models[0].digest)
    assert second.trained_window_tokens == 40_960
    assert second.capabilities == ("completion", "thinking")


def test_cloud_models_and_embedding_models_are_not_offered(ollama_server: OllamaServer) -> None:
    """A cloud model would carry the whole repository off the machine, whatever it is called."""
    ollama_server.models += [
        FakeModel("gpt-oss:120b-cloud"),
        FakeModel("kimi:cloud"),
        FakeModel("renamed:latest", remote_host="https://ollama.com:443"),
        FakeModel("embeddinggemma:latest", ("embedding",)),
    ]
    assert [info.name for info in asyncio.run(Ollama(ollama_server.url).models())] == [NAME]
    for name in ("gpt-oss:120b-cloud", "renamed:latest"):
        with pytest.raises(WorkbenchError, match="no model"):
            get(ollama_server, name)


def test_what_an_old_ollama_leaves_out_of_its_list_is_taken_with_care(
    ollama_server: OllamaServer,
) -> None:
    ollama_server.models = [FakeModel("qwen3:8b", ("completion", "thinking"), 40_960, old=True)]
    (info,) = asyncio.run(Ollama(ollama_server.url).models())
    assert (info.trained_window_tokens, info.capabilities) == (4096, ("completion",))


def test_a_new_digest_under_an_old_name_is_noticed(ollama_server: OllamaServer) -> None:
    ollama_server.models = [FakeModel("mistral:latest")]
    before = get(ollama_server, "mistral:latest")
    ollama_server.models = [FakeModel("mistral:latest", version=2)]
    after = get(ollama_server, "mistral:latest")
    assert before.name == after.name == "mistral:latest"
    assert before.digest != after.digest == ollama_server.models[0].digest


def listing(**entry: object) -> bytes:
    return json.dumps({"models": [{"name": "a", "digest": "d", "size": 1} | entry]}).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["models", "name", "digest", "details"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@SHARED
@given(answer=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30))
@example(answer=listing(capabilities=5))
@example(answer=listing(capabilities=["completion"], details={"context_length": "x"}))
@example(answer=b"[" * 100_000)
def test_whatever_answers_in_place_of_ollama_gives_models_or_a_sentence(
    answer: bytes, shared_server: OllamaServer
) -> None:
    shared_server.instead["/api/tags"] = answer
    try:
        infos = asyncio.run(Ollama(shared_server.url).models())
        assert all(info.trained_window_tokens > 0 for info in infos)
    except WorkbenchError as error:
        assert error.hint
    finally:
        shared_server.instead.clear()


# -- where Ollama is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("", "http://127.0.0.1:11434"),
        ("localhost", "http://localhost:11434"),
        (":4321", "http://127.0.0.1:4321"),
        ("192.168.1.7:4321", "http://192.168.1.7:4321"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("https://box:8443/", "https://box:8443/"),
        ("box/path/", "http://box:11434/path/"),
        ("[::1]:4321", "http://[::1]:4321"),
        ("[fe80::1]", "http://[fe80::1]:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("http://", "http://127.0.0.1:80"),
        ("box:80", "http://box:80"),
    ],
)
def test_ollama_host_may_have_any_form_that_ollama_takes(host: str, expected: str) -> None:
    assert address(host) == httpx.URL(expected)


@settings(deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"(https?://)?[\w.:\[\]%@/?#-]{0,20}", fullmatch=True))
def test_ollama_host_is_an_address_or_an_error_that_becomes_a_sentence(host: str) -> None:
    with suppress(httpx.InvalidURL, ValueError):
        url = address(host)
        assert url.scheme and url.host and " " not in str(url)


@pytest.mark.parametrize("host", ["two words", "ftp://box", "127.0.0.1:99999", "[:::]"])
def test_an_address_that_is_none_is_told_when_ollama_is_needed(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program itself starts without it."""
    monkeypatch.setenv("OLLAMA_HOST", host)
    server = Ollama()
    with pytest.raises(WorkbenchError):
        asyncio.run(server.models())


def test_ollama_host_of_the_environment_is_used(
    ollama_server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{ollama_server.port}")
    assert asyncio.run(Ollama().models())


# -- calibration -------------------------------------------------------------------------------


def test_an_estimate_is_stretched_until_the_model_has_counted() -> None:
    values: dict[str, list[float]] = {}
    calibration = Calibration(values)
    assert calibration.ratio("d") == 1.25
    calibration.learn("d", 499, 900)
    calibration.learn("d", 1000, None)
    assert calibration.ratio("d") == 1.25
    calibration.learn("d", 1000, 1040)
    assert calibration.ratio("d") == 1.04
    assert Calibration(json.loads(json.dumps(values))).ratio("d") == 1.04
    assert calibration.ratio("other") == 1.25


def test_a_surprise_counts_at_once_and_fades() -> None:
    calibration = Calibration({})
    for counted in (1000, 1000, 1600):
        calibration.learn("d", 1000, counted)
    assert calibration.ratio("d") == 1.6
    for _ in range(5):
        calibration.learn("d", 1000, 1000)
    assert 1.0 <= calibration.ratio("d") < 1.2


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 10**9))))
def test_a_ratio_stays_within_its_bounds(counts: list[tuple[int, int]]) -> None:
    calibration = Calibration({})
    for estimate, counted in counts:
        calibration.learn("d", estimate, counted)
    assert 0.7 <= calibration.ratio("d") <= 2.0
    assert all(len(kept) <= 6 for kept in calibration.values.values())


# -- the scripted server itself ----------------------------------------------------------------


def test_the_scripted_server_satisfies_ollamas_own_client(ollama_server: OllamaServer) -> None:
    with ollama.Client(ollama_server.url, trust_env=False) as client:
        ollama_server.say(" two  words\n\nand a line\n")
        chunks = list(client.chat(NAME, [{"role": "user", "content": "Hello?"}], stream=True))
        assert "".join(chunk.message.content for chunk in chunks) == " two  words\n\nand a line\n"
        assert [chunk.done for chunk in chunks[-2:]] == [False, True]
        assert client.list().models[0].digest == ollama_server.models[0].digest
        assert client.show(NAME).capabilities == ["completion"]
        assert client.ps().models[0].context_length == 4096
        with pytest.raises(ollama.ResponseError, match="not found"):
            client.chat("none", [{"role": "user", "content": "Hello?"}])


def test_the_scripted_server_cuts_a_long_prompt_unless_it_is_told_not_to(
    ollama_server: OllamaServer,
) -> None:
    body = {"model": NAME, "messages": [{"role": "user", "content": "x" * 4000}], "stream": True}
    body["options"] = {"num_ctx": 500}

    def post(**more: bool) -> httpx.Response:
        url = f"{ollama_server.url}/api/chat"
        return httpx.post(url, json=body | more, trust_env=False)

    assert json.loads(post().text.splitlines()[-1])["prompt_eval_count"] == 252
    assert "longer than the context length" in post(shift=False).json()["error"]
    inner = json.loads(post(truncate=False, shift=False).json()["error"])["error"]
    assert (inner["n_prompt_tokens"], inner["n_ctx"]) == (1002, 500)


def test_the_scripted_server_refuses_other_pages_and_names(ollama_server: OllamaServer) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        url = f"{ollama_server.url}/api/tags"
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 403

"""Every shape that a provider's failure is known to have, through the real client, and shapes that nobody knows."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import traceback
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant import errors
from assistant.errors import ProviderError, ProviderUnavailable
from assistant.providers.anthropic_messages import AnthropicMessages
from assistant.providers.client import ProviderClient
from assistant.providers.failures import ANTHROPIC_MESSAGES, OPENAI_CHAT
from assistant.providers.openai_chat import OpenAIChat
from assistant.providers.transport import LONGEST_ANSWER_BYTES, LONGEST_REFUSAL_BYTES
from assistant.providers.vendors import PlainVendor
from assistant.turns.chain import Timeouts, load_chain
from assistant.turns.model import Answer, Said
from tests.doubles import NOON, DrivenClock
from tests.failure_fixtures import LEAST, Fixture, Wire, load, response, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from assistant.providers.failures import Rule
    from assistant.providers.protocol import WireProtocol
    from assistant.providers.refusals import Failure

KEY = "sk-very-secret-key"
QUESTION = "where did I bury the treasure"
CHAIN = load_chain()
PROTOCOLS: dict[str, WireProtocol] = {"openai-chat": OpenAIChat(), "anthropic-messages": AnthropicMessages()}
FIXTURES = load()
READ_AHEAD_BYTES = 64 * 1024


def ask(
    provider_id: str,
    handler: Callable[[httpx.Request], httpx.Response],
    protocols: Mapping[str, WireProtocol] = PROTOCOLS,
) -> Answer:
    provider = CHAIN.provider(provider_id)
    with httpx.Client(transport=httpx.MockTransport(handler)) as http:
        client = ProviderClient(
            provider,
            protocols[provider.protocol],
            PlainVendor("http://provider.test", {}),
            http,
            Timeouts(5, 5, 5),
            DrivenClock(),
        )
        answer = client.ask("be brief", [Said("user", QUESTION)], key=KEY, seconds=60, on_text=lambda _: None)
        assert isinstance(answer, Answer)
        return answer


def failed(fixture: Fixture, protocols: Mapping[str, WireProtocol] = PROTOCOLS) -> tuple[ProviderError, Wire]:
    wire = Wire(fixture.happens)
    with pytest.raises(ProviderError) as raised:
        ask(fixture.provider, lambda _: response(wire), protocols)
    return raised.value, wire


@pytest.mark.parametrize("fixture", [pytest.param(each, id=f"{each.provider}: {each.name}") for each in FIXTURES])
def test_a_failure_means_what_its_comment_says(fixture: Fixture) -> None:
    error, wire = failed(fixture)

    means = fixture.means
    assert (type(error), error.reason) == (getattr(errors, means.error), means.reason)
    assert (error.asked, error.may_cost) == (means.asked, means.may_cost)
    assert error.block_until == pytest.approx(means.block(NOON))
    status = f" (HTTP {error.status})" if error.status else ""
    assert str(error) == f"{fixture.provider}: {means.reason}{status}"  # nothing of the body
    shown = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert KEY not in shown
    assert QUESTION not in shown
    assert wire.served <= LONGEST_ANSWER_BYTES + READ_AHEAD_BYTES


@pytest.mark.parametrize("fixture", [each for each in FIXTURES if "50 MB" in each.name], ids=lambda each: each.name)
def test_a_body_of_50_mb_is_abandoned(fixture: Fixture) -> None:
    _, wire = failed(fixture)

    limit = LONGEST_ANSWER_BYTES if fixture.happens.status == 200 else LONGEST_REFUSAL_BYTES
    assert limit <= wire.served <= limit + READ_AHEAD_BYTES
    assert fixture.happens.repeat is not None
    assert fixture.happens.repeat.bytes == 50 * 1024 * 1024


def test_a_refusal_keeps_its_status() -> None:
    for fixture in FIXTURES:
        if fixture.happens.status >= 300:
            assert failed(fixture)[0].status == fixture.happens.status, fixture.name


def test_fixtures_have_names_of_their_own_and_sources() -> None:
    assert len({(each.provider, each.name) for each in FIXTURES}) == len(FIXTURES)
    for fixture in FIXTURES:
        assert fixture.comment.endswith("."), fixture.name
        assert fixture.invented or re.search(r"\S+/\S+#\d+|docs[,)]", fixture.source), fixture.name


def test_every_rule_decides_a_fixture() -> None:
    met: list[Rule] = []

    def noting(rule: Rule) -> Rule:
        def when(failure: Failure) -> bool:
            applies = rule.when(failure)
            if applies:
                met.append(rule)
            return applies

        return dataclasses.replace(rule, when=when)

    noted: dict[str, WireProtocol] = {"openai-chat": OpenAIChat(), "anthropic-messages": AnthropicMessages()}
    for protocol in noted.values():
        protocol.failures = tuple(noting(rule) for rule in protocol.failures)
    for fixture in FIXTURES:
        failed(fixture, noted)

    assert [rule.reason for rule in (*OPENAI_CHAT, *ANTHROPIC_MESSAGES) if rule not in met] == []


def test_there_are_enough_fixtures_and_the_invented_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{summary()}\n")

    assert len(FIXTURES) >= LEAST
    assert sum(not fixture.invented for fixture in FIXTURES) >= LEAST


@pytest.mark.parametrize("provider_id", ["openrouter", "anthropic"])
@pytest.mark.parametrize("status", [100, 302, 405, 406, 409, 415, 418, 421, 451, 499, 507, 520, 599, 600, 999])
@pytest.mark.parametrize("body", [b"", b"?", b'{"odd": 1}', b'{"error": {"message": "odd"}}'])
def test_a_status_that_nobody_knows_is_unavailable_and_kept(provider_id: str, status: int, body: bytes) -> None:
    with pytest.raises(ProviderUnavailable) as raised:
        ask(provider_id, lambda _: httpx.Response(status, content=body))

    assert raised.value.status == status
    assert raised.value.block_until is None


PIECES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"data: [DONE]\n\n",
            b": comment\n\n",
            b"event: error\n",
            b"\n\n",
            b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\n',
            b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n',
            b'data: {"type": "message_start", "message": {"usage": {"input_tokens": "many"}}}\n\n',
            b'data: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello"}}\n\n',
            b'data: {"type": "message_delta", "delta": {"stop_reason": "refusal"}}\n\n',
            b'data: {"type": "message_stop"}\n\n',
            b'data: {"error": {"code": 429, "metadata": {"headers": {"Retry-After": 1e999}}}}\n\n',
        ]
    ),
    st.builds(
        lambda value: f"data: {json.dumps(value)}\n\n".encode(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["type", "choices", "delta", "content", "usage", "error", "code", "message", "metadata", "text"]
                    ),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=6,
        ),
    ),
)
HEADERS = st.fixed_dictionaries(
    {
        "content-type": st.sampled_from(
            ["text/event-stream", "text/event-stream; charset=utf-16", "application/json", "", "Text/Event-Stream"],
        )
    },
    optional={
        "content-encoding": st.sampled_from(["gzip", "deflate", "br", "identity", "zstd", "nonsense"]),
        "retry-after": st.from_regex(r"[ -~]{0,12}", fullmatch=True),
        "x-ratelimit-reset": st.integers().map(str),
        "location": st.just("http://[broken"),
    },
)


class Pieces(httpx.SyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)


def outcome(provider_id: str, handler: Callable[[httpx.Request], httpx.Response]) -> Answer | ProviderError:
    try:
        return ask(provider_id, handler)
    except ProviderError as error:
        return error


@given(
    provider_id=st.sampled_from(["openrouter", "anthropic"]),
    status=st.sampled_from([200, 200, 200, 201, 204]) | st.integers(100, 999),
    headers=HEADERS,
    pieces=st.lists(PIECES, max_size=6),
)
def test_whatever_comes_is_an_answer_or_a_provider_error(
    provider_id: str, status: int, headers: Mapping[str, str], pieces: list[bytes]
) -> None:
    result = outcome(provider_id, lambda _: httpx.Response(status, headers=headers, stream=Pieces(pieces)))

    if isinstance(result, Answer):
        assert 200 <= status <= 299
        assert result.text.strip()
    else:
        assert (result.provider, result.asked) == (provider_id, True)
        assert result.block_until is None or NOON < result.block_until <= NOON + 31 * 86400

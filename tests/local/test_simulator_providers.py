"""Each provider answers in its vendor's shape, counts as its vendor does, and refuses as its vendor does."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource

from local.simulators import (
    AnthropicSimulator,
    CopilotSimulator,
    Fault,
    OllamaCloudSimulator,
    OpenRouterSimulator,
    ProviderSimulator,
)
from local.simulators.answers import DELEGATE, ToolCall, results_in, tools_in

KEY = "key-of-the-test"
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


class SettableClock:
    def __init__(self, at: float = NOON) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


MAKERS: list[Callable[[SettableClock], ProviderSimulator]] = [
    lambda clock: CopilotSimulator(clock, KEY, hang_limit_s=0.1),
    lambda clock: OpenRouterSimulator(clock, KEY, hang_limit_s=0.1),
    lambda clock: OllamaCloudSimulator(clock, KEY, hang_limit_s=0.1),
    lambda clock: AnthropicSimulator(clock, KEY, hang_limit_s=0.1),
]


@pytest.fixture(params=MAKERS, ids=["copilot", "openrouter", "ollama-cloud", "anthropic"])
def provider(request: pytest.FixtureRequest, clock: SettableClock) -> ProviderSimulator:
    made: ProviderSimulator = request.param(clock)
    return made


def headers_for(provider: ProviderSimulator, key: str = KEY) -> dict[str, str]:
    if provider.provider_id == "anthropic":
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}
    editor = {
        "Editor-Version": "vscode/1.110.0",
        "Copilot-Integration-Id": "vscode-chat",
        "X-Initiator": "user",
    }
    return {"Authorization": f"Bearer {key}"} | (editor if provider.provider_id == "copilot" else {})


def question(text: str = "What is a turtle?", **extra: Any) -> dict[str, Any]:
    return {
        "model": "some-model",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": text}],
        **extra,
    }


def ask(
    provider: ProviderSimulator, body: dict[str, Any] | None = None, key: str = KEY, **extra: Any
) -> httpx.Response:
    with httpx.Client(transport=httpx.WSGITransport(app=provider), base_url="http://simulated") as client:
        headers = headers_for(provider, key)
        return client.post(provider.endpoint, json=question(**extra) if body is None else body, headers=headers)


def events_of(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"].startswith("text/event-stream")
    return [event.data if event.data == "[DONE]" else json.loads(event.data) for event in _sse(response)]


def _sse(response: httpx.Response) -> Any:
    return EventSource(response).iter_sse()


def streamed_text(provider: ProviderSimulator, events: list[Any]) -> str:
    if provider.provider_id == "anthropic":
        return "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    chunks = [event for event in events if event != "[DONE]" and event["choices"]]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


def test_a_streamed_answer_says_that_it_is_simulated_by_whom_and_quotes_the_question(
    provider: ProviderSimulator,
) -> None:
    response = ask(provider, stream=True)

    expected = f"[simulated {provider.provider_id}] You said: What is a turtle?"
    assert streamed_text(provider, events_of(response)) == expected


def test_an_answer_in_one_piece_says_the_same(provider: ProviderSimulator) -> None:
    answer = ask(provider).json()

    text = answer["content"][0]["text"] if "content" in answer else answer["choices"][0]["message"]["content"]
    assert text == f"[simulated {provider.provider_id}] You said: What is a turtle?"
    assert answer["usage"]


def test_all_messages_since_the_last_answer_are_quoted(provider: ProviderSimulator) -> None:
    messages = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "older answer"},
        {"role": "user", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "second"}]},
    ]

    events = events_of(ask(provider, question(stream=True) | {"messages": messages}))

    assert streamed_text(provider, events).endswith("You said: first\nsecond")


def test_a_long_question_is_shortened_and_an_answer_can_be_composed(provider: ProviderSimulator) -> None:
    shortened = streamed_text(provider, events_of(ask(provider, text="x" * 5000, stream=True)))
    provider.compose = lambda asked: asked.upper()
    composed = streamed_text(provider, events_of(ask(provider, text="loud", stream=True)))

    assert len(shortened) < 1100
    assert shortened.endswith("…")
    assert composed == "LOUD"


def test_a_wrong_key_is_refused(provider: ProviderSimulator) -> None:
    assert ask(provider, key="wrong").status_code == 401


def test_requests_are_recorded_without_the_key(provider: ProviderSimulator, clock: SettableClock) -> None:
    ask(provider)

    (recorded,) = provider.requests
    assert recorded.at == clock.now()
    assert recorded.messages == [{"role": "user", "content": "What is a turtle?"}]
    assert KEY not in str(recorded)
    assert recorded.headers["content-type"] == "application/json"


@pytest.mark.parametrize("broken", [{"model": None}, {"messages": []}, {"messages": [{"role": "robot"}]}])
def test_a_malformed_request_is_refused(provider: ProviderSimulator, broken: dict[str, Any]) -> None:
    assert ask(provider, question() | broken).status_code == 400


def test_an_unknown_path_is_not_found(provider: ProviderSimulator) -> None:
    with httpx.Client(transport=httpx.WSGITransport(app=provider), base_url="http://simulated") as client:
        assert client.get("/nowhere", headers=headers_for(provider)).status_code == 404
        assert client.get("/nowhere").status_code == 401


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.THROTTLED, 429),
        (Fault.EXHAUSTED, 429),
        (Fault.UNAUTHORIZED, 401),
        (Fault.PAYMENT_REQUIRED, 402),
        (Fault.FORBIDDEN, 403),
        (Fault.NOT_FOUND, 404),
        (Fault.SERVER_ERROR, 500),
        (Fault.BAD_GATEWAY, 502),
        (Fault.UNAVAILABLE, 503),
        (Fault.TOO_LONG, 400),
        (Fault.ERROR_IN_200, 200),
    ],
)
def test_a_fault_is_met_as_often_as_it_was_ordered(provider: ProviderSimulator, fault: Fault, status: int) -> None:
    provider.order(fault, times=2)

    first, second, third = ask(provider), ask(provider), ask(provider)

    assert [first.status_code, second.status_code] == [status, status]
    assert "You said" not in first.text
    assert "You said" in third.text
    assert [entry.fault for entry in provider.requests] == [fault, fault, None]


def test_a_fault_without_number_stays_until_it_is_cleared(provider: ProviderSimulator) -> None:
    provider.order(Fault.SERVER_ERROR, times=None)
    refused = [ask(provider).status_code for _ in range(3)]
    provider.clear()

    assert refused == [500, 500, 500]
    assert ask(provider).status_code == 200


def test_a_proxys_error_page_is_html(provider: ProviderSimulator) -> None:
    provider.order(Fault.BAD_GATEWAY)

    response = ask(provider)

    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<html>")


def test_an_empty_answer_is_complete_but_for_its_text(provider: ProviderSimulator) -> None:
    provider.order(Fault.EMPTY)

    events = events_of(ask(provider, stream=True))

    assert streamed_text(provider, events) == ""
    assert events[-1] == "[DONE]" or events[-1]["type"] == "message_stop"


def test_a_stream_can_end_politely_in_the_middle(provider: ProviderSimulator) -> None:
    whole = events_of(ask(provider, stream=True))
    provider.order(Fault.TRUNCATED)

    events = events_of(ask(provider, stream=True))

    assert 0 < len(events) < len(whole)
    assert "[DONE]" not in events
    assert not any("message_stop" in str(event) for event in events)


def test_a_stream_can_report_an_error_after_it_began(provider: ProviderSimulator) -> None:
    provider.order(Fault.FINISH_ERROR)

    events = events_of(ask(provider, stream=True))

    said = streamed_text(provider, events[:-1])
    assert said
    assert f"[simulated {provider.provider_id}] You said: What is a turtle?".startswith(said)
    assert "error" in events[-1]


def test_a_text_can_have_a_byte_that_is_not_utf8(provider: ProviderSimulator) -> None:
    provider.order(Fault.INVALID_UTF8, times=2)

    streamed, whole = ask(provider, stream=True), ask(provider)

    for response in (streamed, whole):
        assert response.content.count(b"\xff") == 1
        response.content.replace(b"\xff", b"").decode()
    with pytest.raises(UnicodeDecodeError):
        streamed.content.decode()


@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_can_be_huge_and_is_an_answer_still(provider: ProviderSimulator, streamed: bool) -> None:
    provider.order(Fault.HUGE)
    provider.huge_bytes = 2_000_000

    response = ask(provider, stream=streamed)

    assert 2_000_000 < len(response.content) < 3_000_000
    if streamed:
        assert len(streamed_text(provider, events_of(response))) > 1_900_000
    else:
        assert response.json()


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.STALL, Fault.HANG, Fault.CLOSED])
def test_a_connection_can_break(provider: ProviderSimulator, fault: Fault) -> None:
    provider.order(fault)

    with pytest.raises(ConnectionAbortedError):
        ask(provider, stream=True)


def test_only_faults_that_the_vendor_has_can_be_ordered(clock: SettableClock) -> None:
    with pytest.raises(ValueError, match="copilot has no fault '529'"):
        CopilotSimulator(clock, KEY).order(Fault.OVERLOADED)
    with pytest.raises(ValueError, match="anthropic has no fault '429-upstream'"):
        AnthropicSimulator(clock, KEY).order(Fault.UPSTREAM_THROTTLED)


def test_usage_comes_in_the_last_chunk_if_it_was_asked_for(clock: SettableClock) -> None:
    ollama = OllamaCloudSimulator(clock, KEY)

    without = events_of(ask(ollama, stream=True))
    with_usage = events_of(ask(ollama, stream=True, stream_options={"include_usage": True}))

    assert not any("usage" in event for event in without)
    assert with_usage[-1] == "[DONE]"
    assert with_usage[-2]["choices"] == []
    assert with_usage[-2]["usage"]["total_tokens"] > 0
    assert with_usage[-3]["choices"][0]["finish_reason"] == "stop"


class TestCopilot:
    def test_the_month_ends_with_402_and_begins_again_on_the_first(self, clock: SettableClock) -> None:
        copilot = CopilotSimulator(clock, KEY, per_month=2)

        statuses = [ask(copilot).status_code for _ in range(3)]
        refused = ask(copilot)
        clock.at = datetime(2026, 12, 1, tzinfo=UTC).timestamp()

        assert statuses == [200, 200, 402]
        assert refused.json() == {"error": {"message": "You have no quota", "code": "quota_exceeded"}}
        assert int(refused.headers["Retry-After"]) == pytest.approx(20.5 * DAY, abs=2)
        assert ask(copilot).status_code == 200

    def test_only_what_the_user_initiated_counts(self, clock: SettableClock) -> None:
        copilot = CopilotSimulator(clock, KEY, per_month=1)
        with httpx.Client(transport=httpx.WSGITransport(app=copilot), base_url="http://simulated") as client:
            for _ in range(3):
                headers = headers_for(copilot) | {"X-Initiator": "agent"}
                assert client.post(copilot.endpoint, json=question(), headers=headers).status_code == 200

        assert copilot.month.used(clock.now()) == 0

    def test_what_is_left_is_told_in_a_header(self, clock: SettableClock) -> None:
        copilot = CopilotSimulator(clock, KEY, per_month=4)

        told = ask(copilot).headers["x-quota-snapshot-premium_interactions"]

        assert told.startswith("ent=4&")
        assert "rem=75.0" in told

    def test_a_conversation_that_is_too_long_is_told_both_numbers(self, clock: SettableClock) -> None:
        copilot = CopilotSimulator(clock, KEY)
        copilot.order(Fault.TOO_LONG, times=2)

        few, many = ask(copilot), ask(copilot, text="x" * 4 * 200_000)

        assert few.json()["error"] == {
            "message": "prompt token count of 128001 exceeds the limit of 128000",
            "code": "model_max_prompt_tokens_exceeded",
        }
        assert "token count of 200000 exceeds" in many.json()["error"]["message"]

    def test_who_does_not_look_like_an_editor_is_refused(self, clock: SettableClock) -> None:
        copilot = CopilotSimulator(clock, KEY)
        bearer = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(transport=httpx.WSGITransport(app=copilot), base_url="http://simulated") as client:
            bare = client.post(copilot.endpoint, json=question(), headers=bearer)
            half = client.post(copilot.endpoint, json=question(), headers=bearer | {"Editor-Version": "vscode/1"})

        assert (bare.status_code, half.status_code) == (400, 403)
        assert "missing Editor-Version header" in bare.text

    def test_a_short_429_says_when_to_come_back(self, clock: SettableClock) -> None:
        copilot = CopilotSimulator(clock, KEY)
        copilot.order(Fault.THROTTLED)

        assert ask(copilot).headers["Retry-After"] == "2"


class TestOpenRouter:
    def test_the_day_ends_with_a_reset_in_milliseconds_in_headers_and_body(self, clock: SettableClock) -> None:
        router = OpenRouterSimulator(clock, KEY, per_day=2)
        midnight = datetime(2026, 11, 11, tzinfo=UTC).timestamp()

        statuses = [ask(router).status_code for _ in range(2)]
        refused = ask(router)
        error = refused.json()["error"]

        assert statuses == [200, 200]
        assert refused.status_code == error["code"] == 429
        assert error["message"].startswith("Rate limit exceeded: free-models-per-day.")
        expected = {
            "X-RateLimit-Limit": "2",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(midnight * 1000)),
        }
        assert error["metadata"]["headers"] == expected
        assert {name: refused.headers[name] for name in expected} == expected
        clock.at = midnight
        assert ask(router).status_code == 200

    def test_the_minute_allows_twenty(self, clock: SettableClock) -> None:
        router = OpenRouterSimulator(clock, KEY)

        statuses = [ask(router).status_code for _ in range(21)]
        refused = ask(router)
        clock.at += 60

        assert statuses == [200] * 20 + [429]
        assert refused.json()["error"]["message"].startswith("Rate limit exceeded: free-models-per-min")
        assert refused.headers["X-RateLimit-Reset"] == str(int((NOON + 60) * 1000))
        assert ask(router).status_code == 200

    def test_refused_requests_do_not_count(self, clock: SettableClock) -> None:
        router = OpenRouterSimulator(clock, KEY, per_day=1)
        router.order(Fault.SERVER_ERROR, times=3)

        assert [ask(router).status_code for _ in range(4)] == [500, 500, 500, 200]

    def test_good_answers_carry_no_limit_headers(self, clock: SettableClock) -> None:
        assert not [name for name in ask(OpenRouterSimulator(clock, KEY)).headers if "ratelimit" in name]

    def test_a_stream_begins_with_comments_and_ends_with_usage(self, clock: SettableClock) -> None:
        response = ask(OpenRouterSimulator(clock, KEY), stream=True)

        assert response.text.startswith(": OPENROUTER PROCESSING\n\n")
        assert events_of(response)[-2]["usage"]["completion_tokens"] > 0

    def test_an_upstreams_429_names_the_upstream_and_no_limit(self, clock: SettableClock) -> None:
        router = OpenRouterSimulator(clock, KEY)
        router.order(Fault.UPSTREAM_THROTTLED)

        refused = ask(router)

        assert refused.json()["error"]["metadata"]["provider_name"]
        assert "X-RateLimit-Reset" not in refused.headers

    def test_an_error_in_the_stream_keeps_a_choice(self, clock: SettableClock) -> None:
        router = OpenRouterSimulator(clock, KEY)
        router.order(Fault.FINISH_ERROR)

        last = events_of(ask(router, stream=True))[-1]

        assert last["choices"][0]["finish_reason"] == "error"
        assert last["error"]["code"] == 502

    def test_the_key_tells_what_is_left_of_the_day(self, clock: SettableClock) -> None:
        router = OpenRouterSimulator(clock, KEY)
        ask(router)
        with httpx.Client(transport=httpx.WSGITransport(app=router), base_url="http://simulated") as client:
            told = client.get("/api/v1/key", headers=headers_for(router)).json()["data"]

        assert told["free_model_daily_requests"] == {"used": 1, "limit": 50, "remaining": 49}
        assert told["limit_remaining"] is None
        assert router.look_ups == 1

    def test_the_days_limit_can_change_while_it_runs(self, clock: SettableClock) -> None:
        router = OpenRouterSimulator(clock, KEY, per_day=1)
        before = [ask(router).status_code for _ in range(2)]
        router.per_day = 1000
        after = ask(router).status_code
        with httpx.Client(transport=httpx.WSGITransport(app=router), base_url="http://simulated") as client:
            told = client.get("/api/v1/key", headers=headers_for(router)).json()["data"]
            client.get("/api/v1/key", headers=headers_for(router, "wrong"))
            client.get("/api/v1/models", headers=headers_for(router))

        assert [*before, after] == [200, 429, 200]
        assert told["free_model_daily_requests"] == {"used": 2, "limit": 1000, "remaining": 998}
        assert (router.per_day, router.look_ups) == (1000, 1)

    def test_a_conversation_that_is_too_long_is_told_what_was_asked_for(self, clock: SettableClock) -> None:
        router = OpenRouterSimulator(clock, KEY)
        router.order(Fault.TOO_LONG)

        error = ask(router).json()["error"]

        assert error["code"] == 400
        assert error["message"].startswith(
            "This endpoint's maximum context length is 128000 tokens. However, you requested about 128101 tokens "
            "(128001 of text input, 100 in the output)."
        )


class TestOllamaCloud:
    def test_one_request_at_a_time(self, clock: SettableClock) -> None:
        ollama = OllamaCloudSimulator(clock, KEY)
        with httpx.Client(transport=httpx.WSGITransport(app=ollama), base_url="http://simulated") as client:
            request = client.build_request(
                "POST", ollama.endpoint, json=question(stream=True), headers=headers_for(ollama)
            )
            under_way = client.send(request, stream=True)
            refused = ask(ollama)
            under_way.read()
            under_way.close()

        assert (refused.status_code, refused.json()) == (
            429,
            {"error": "timed out waiting for a concurrent request slot"},
        )
        assert ask(ollama).status_code == 200
        assert ollama.most_in_flight == 2

    def test_requests_one_after_the_other_are_never_two_at_a_time(self, clock: SettableClock) -> None:
        ollama = OllamaCloudSimulator(clock, KEY)

        assert [ask(ollama).status_code for _ in range(3)] == [200] * 3
        assert ollama.most_in_flight == 1

    def test_the_days_limit_can_change_while_it_runs(self, clock: SettableClock) -> None:
        ollama = OllamaCloudSimulator(clock, KEY)
        statuses = [ask(ollama).status_code]
        ollama.per_day = 1
        statuses.append(ask(ollama).status_code)
        ollama.per_day = None
        statuses.append(ask(ollama).status_code)

        assert statuses == [200, 429, 200]
        assert ollama.per_day is None

    def test_a_conversation_that_is_too_long_is_told_by_how_much(self, clock: SettableClock) -> None:
        ollama = OllamaCloudSimulator(clock, KEY)
        ollama.order(Fault.TOO_LONG)

        assert ask(ollama).json()["error"].startswith("prompt too long; exceeded max context length by 1 tokens (ref: ")

    def test_no_daily_limit_unless_set(self, clock: SettableClock) -> None:
        free, limited = OllamaCloudSimulator(clock, KEY), OllamaCloudSimulator(clock, KEY, per_day=1)

        assert [ask(free).status_code for _ in range(100)] == [200] * 100
        assert [ask(limited).status_code for _ in range(2)] == [200, 429]
        clock.at += DAY
        assert ask(limited).status_code == 200


class TestAnthropic:
    def test_events_come_in_the_documented_order(self, clock: SettableClock) -> None:
        response = ask(AnthropicSimulator(clock, KEY), stream=True)

        named = [event.event for event in _sse(response)]
        assert named[:3] == ["message_start", "content_block_start", "ping"]
        assert named[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert set(named[3:-3]) == {"content_block_delta"}

    def test_usage_and_stop_reason_come_in_message_delta(self, clock: SettableClock) -> None:
        events = events_of(ask(AnthropicSimulator(clock, KEY), stream=True))

        (delta,) = [event for event in events if event["type"] == "message_delta"]
        assert delta["delta"]["stop_reason"] == "end_turn"
        assert delta["usage"]["output_tokens"] > 1
        assert events[0]["message"]["usage"]["input_tokens"] > 0

    @pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
    def test_required_fields(self, clock: SettableClock, missing: str) -> None:
        body = question()
        del body[missing]

        refused = ask(AnthropicSimulator(clock, KEY), body)

        assert refused.status_code == 400
        assert refused.json()["error"] == {
            "type": "invalid_request_error",
            "message": f"{missing}: Field required",
        }

    @pytest.mark.parametrize(
        "messages",
        [
            [{"role": "system", "content": "Be brief"}],
            [{"role": "assistant", "content": "Hello"}],
            [{"role": "user", "content": " "}],
        ],
    )
    def test_conversations_that_are_refused(self, clock: SettableClock, messages: list[dict[str, str]]) -> None:
        assert ask(AnthropicSimulator(clock, KEY), question() | {"messages": messages}).status_code == 400

    def test_the_version_header_is_required(self, clock: SettableClock) -> None:
        provider = AnthropicSimulator(clock, KEY)
        with httpx.Client(transport=httpx.WSGITransport(app=provider), base_url="http://simulated") as client:
            refused = client.post(provider.endpoint, json=question(), headers={"x-api-key": KEY})

        assert refused.status_code == 400
        assert "anthropic-version" in refused.json()["error"]["message"]

    def test_the_minute_is_limited_and_says_when_to_come_back(self, clock: SettableClock) -> None:
        provider = AnthropicSimulator(clock, KEY, per_minute=1)

        good, refused = ask(provider), ask(provider)

        assert good.headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert refused.headers["retry-after"] == "61"
        assert refused.headers["anthropic-ratelimit-requests-reset"] == "2026-11-10T12:01:00Z"

    def test_a_reached_spend_limit_has_no_retry_after(self, clock: SettableClock) -> None:
        provider = AnthropicSimulator(clock, KEY)
        provider.order(Fault.EXHAUSTED)

        refused = ask(provider)

        assert refused.json()["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}
        assert "2026-12-01" in refused.json()["error"]["message"]
        assert "retry-after" not in refused.headers

    def test_overloaded_is_529(self, clock: SettableClock) -> None:
        provider = AnthropicSimulator(clock, KEY)
        provider.order(Fault.OVERLOADED)

        refused = ask(provider)

        assert refused.status_code == 529
        assert refused.json()["error"] == {"type": "overloaded_error", "message": "Overloaded"}
        assert refused.json()["request_id"] == refused.headers["request-id"]


def test_a_model_calls_a_tool_that_it_is_offered_and_answers_after_its_result(
    provider: ProviderSimulator,
) -> None:
    call = ToolCall("write", {"path": "a.txt", "content": "ünï"})
    provider.call_tool = lambda body: None if results_in(body["messages"]) else call
    body = question("Write it", tools=_offered(provider, "write"))

    whole = ask(provider, body).json()
    pieces = events_of(ask(provider, body | {"stream": True}))

    assert tools_in(body) == {"write"}
    assert _called(whole) == (call.name, call.arguments)
    assert _called_in(pieces) == (call.name, call.arguments)
    answered = ask(provider, body | {"messages": [*body["messages"], *_done(whole, "written")]}).json()
    text = answered["content"][0]["text"] if "content" in answered else answered["choices"][0]["message"]["content"]
    assert text.endswith("You said: Write it")


def test_a_question_for_the_agent_is_handed_over_where_that_is_offered(provider: ProviderSimulator) -> None:
    tools = _offered(provider, DELEGATE)

    assert _called(ask(provider, question("Write a file", tools=tools)).json()) == (DELEGATE, {"task": "Write a file"})
    for body in (question("Write a file"), question("Write a poem", tools=tools)):
        assert "You said: Write a" in ask(provider, body).text


def _offered(provider: ProviderSimulator, name: str) -> list[dict[str, Any]]:
    if provider.provider_id == "anthropic":
        return [{"name": name, "input_schema": {"type": "object"}}]
    return [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}]


def _called(answer: dict[str, Any]) -> tuple[str, Any]:
    if "content" in answer:
        assert answer["stop_reason"] == "tool_use"
        return answer["content"][0]["name"], answer["content"][0]["input"]
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    function = choice["message"]["tool_calls"][0]["function"]
    return function["name"], json.loads(function["arguments"])


def _called_in(events: list[Any]) -> tuple[str, Any]:
    if events[-1] != "[DONE]":
        (begun,) = [event["content_block"] for event in events if event["type"] == "content_block_start"]
        deltas = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
        return begun["name"], json.loads("".join(deltas))
    deltas = [event["choices"][0]["delta"] for event in events[:-1] if event != "[DONE]" and event["choices"]]
    functions = [delta["tool_calls"][0]["function"] for delta in deltas if "tool_calls" in delta]
    return functions[0]["name"], json.loads("".join(function["arguments"] for function in functions))


def _done(answer: dict[str, Any], result: str) -> list[dict[str, Any]]:
    """The messages that follow the call: the call itself, and what the tool gave."""
    if "content" in answer:
        block = {"type": "tool_result", "tool_use_id": answer["content"][0]["id"], "content": result}
        return [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [block]}]
    message = answer["choices"][0]["message"]
    return [message, {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": result}]

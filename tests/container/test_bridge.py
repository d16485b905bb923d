"""The bridge: turns are taken, run, answered once, and given back when it has to end."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError

from agent.bridge import BACKUP_LOOK_SECONDS
from agent.gateway_client import AllModelsFailed, GatewayGone, GatewayRefused, RunFailed, RunTimedOut
from agent.gateway_frames import FallbackAttempt
from agent.life import BOOKS_SECONDS
from agent.safekeeping import BACK_UP_SECONDS
from assistant.errors import SnapshotUnreadable
from assistant.turns.agents import LEASE_SECONDS, AgentStatus
from assistant.turns.model import TurnStatus
from assistant.workspace.model import Contained, Root
from tests.container.bridging import IDLE_SECONDS, METHODS, KeepingDouble, Living, an_agent, result, shared_tables
from tests.doubles import CHAT, World
from tests.unit.test_agents import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assistant.turns.model import TurnClaim

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def a_new_world() -> Iterator[Callable[..., World]]:
    with shared_tables() as make:
        yield make


@pytest.fixture
def fleet(a_new_world: Callable[..., World]) -> Fleet:
    return Fleet(a_new_world(agent_mode="always"))


def agent(fleet: Fleet) -> Any:
    return fleet.agents.read(CHAT)


async def told(living: Living, *how: str) -> None:
    """Wait until the states that waited were told so."""
    await living.until(lambda: [each for _, each in living.fleet.tokens.ended] == list(how))


def counting(fleet: Fleet) -> Counter[str]:
    """The requests to DynamoDB from now on, by method."""
    counts = Counter[str]()

    def counted(name: str, method: Any, **request: Any) -> Any:
        counts[name] += 1
        return method(**request)

    for client in {fleet.world.runtime.client, fleet.world.conversations.client}:
        for name in METHODS:
            setattr(client, name, partial(counted, name, getattr(client, name)))
    return counts


def next_turn(fleet: Fleet, claim: TurnClaim, text: str) -> TurnClaim:
    """The next turn of the chat, after the one before was delivered."""
    fleet.world.deliver(claim)
    return fleet.turn(text)


async def test_a_turn_is_run_and_answered(fleet: Fleet) -> None:
    claim = fleet.turn("what is in my files?")
    fleet.hand_over(claim)
    async with an_agent(fleet) as living:
        living.begin()
        await told(living, "success")

    assert living.played.ran == [("agent:main:42", "what is in my files?")]
    turn = fleet.world.turn()
    assert (turn.status, turn.reply, turn.provider, turn.model) == (
        TurnStatus.ANSWERED,
        "done",
        "copilot",
        "copilot-model",
    )
    assert (turn.input_tokens, turn.cached_tokens, turn.output_tokens, turn.micro_dollars) == (5, 3, 7, 0)
    assert living.played.turns[0].chat_id == CHAT
    assert living.played.turns[0].number == claim.number
    assert fleet.agents.mail(CHAT) == []


async def test_what_a_turn_costs_is_what_the_ledger_settled(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    claude = fleet.world.chain.provider("anthropic")
    async with an_agent(fleet) as living:
        living.played.script = [None]
        living.begin()
        await living.until(lambda: living.played.hanging)
        for cost in (100, 23):
            reservation = living.spending.reserve(claude, holder=str(cost), micro_dollars=1000)
            living.spending.succeeded(reservation, micro_dollars=cost)
        late = living.spending.reserve(claude, holder="late", micro_dollars=1000)
        assert living.played._hanging is not None
        living.played._hanging.set_result(result(provider="anthropic"))
        await asyncio.sleep(0)
        living.spending.succeeded(late, micro_dollars=None)  # the relay settles after the answer has gone
        await told(living, "success")

    assert fleet.world.turn().micro_dollars == 1123


async def test_a_turn_is_held_while_openclaw_boots_and_run_when_it_is_up(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet, boots=False) as living:
        living.begin()
        await living.until(lambda: agent(fleet).in_flight == 1)
        assert agent(fleet).status == AgentStatus.RUNNING
        await living.pass_time(35)
        assert fleet.tokens.beats == ["token"] * 4  # at once, and every 10 s
        assert living.played.ran == []

        living.played.boot()
        await told(living, "success")
        assert set(living.openclaw.seconds) == {
            "relay",
            "preparation",
            "configuration",
            "keys",
            "gateway",
            "connection",
            "all",
        }


async def test_what_the_agent_has_not_seen_precedes_its_message(fleet: Fleet) -> None:
    first = fleet.turn("one")
    fleet.world.ask("copilot")(first)  # the chat lane
    second = next_turn(fleet, first, "two")
    fleet.hand_over(second)
    async with an_agent(fleet) as living:
        living.begin()
        await told(living, "success")
        third = next_turn(fleet, second, "three")
        fleet.world.ask("copilot")(third)
        fourth = next_turn(fleet, third, "four")
        fleet.hand_over(fourth, "token 2")
        await living.pass_time(1)
        await told(living, "success", "success")
        fifth = next_turn(fleet, fourth, "five")
        fleet.hand_over(fifth, "token 3")
        await living.pass_time(1)
        await told(living, "success", "success", "success")

    assert [message for _, message in living.played.ran] == [
        history_of("one") + "two",
        history_of("three") + "four",
        "five",
    ]


async def test_a_task_that_a_model_handed_over_goes_along_and_the_history_holds_what_was_written(fleet: Fleet) -> None:
    claim = fleet.turn("where is it?")
    fleet.world.turns.delegate(claim, "find <it>", deadline=int(fleet.world.clock.now()) + 1140)
    fleet.hand_over(claim)
    async with an_agent(fleet) as living:
        living.begin()
        await told(living, "success")

    ((_, message),) = living.played.ran
    assert message == "where is it?\n\n<task>find &lt;it&gt;</task>"
    turn = replace(claim, number=2)
    (kept,) = fleet.world.turns.history(turn, after=0, since=0, limit=9)
    assert (kept.user, kept.assistant) == ("where is it?", "done")


def history_of(question: str) -> str:
    said = f'<message role="user">{question}</message>\n<message role="assistant">copilot: {question}</message>'
    return f"<conversation_history>\n{said}\n</conversation_history>\n\n"


async def test_a_conversation_that_was_begun_afresh_is_another_session(fleet: Fleet) -> None:
    first = fleet.turn("one")
    fleet.world.ask("copilot")(first)
    fleet.world.deliver(first)
    fleet.world.say("/new")
    second = fleet.turn("two")
    fleet.hand_over(second)
    async with an_agent(fleet) as living:
        living.begin()
        await told(living, "success")

    assert living.played.ran == [("agent:main:42-1", "two")]


async def test_new_in_the_middle_of_a_warm_agents_life_begins_afresh(fleet: Fleet) -> None:
    first = fleet.turn("one")
    fleet.hand_over(first)
    async with an_agent(fleet) as living:
        living.begin()
        await told(living, "success")
        unseen = next_turn(fleet, first, "/ask what it has not seen")
        fleet.world.ask("copilot")(unseen)
        fleet.world.deliver(unseen)
        fleet.world.say("/new")
        second = fleet.turn("two")
        fleet.hand_over(second)
        await living.pass_time(5)
        await told(living, "success", "success")
        fleet.hand_over(next_turn(fleet, second, "three"))
        await living.pass_time(5)
        await told(living, "success", "success", "success")

    assert living.played.ran == [
        ("agent:main:42", "one"),
        ("agent:main:42-2", "two"),
        ("agent:main:42-2", "three"),
    ]


@pytest.mark.parametrize(
    "error",
    [
        AllModelsFailed((FallbackAttempt("copilot", "m", "rate_limit"),)),
        RunFailed("UNAVAILABLE"),
        RunTimedOut("the run took too long"),
        GatewayRefused("the run", "INVALID_REQUEST"),
        result(text=" "),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_run_without_an_answer_leaves_the_turn_to_the_chat_lane(fleet: Fleet, error: Any) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [error]
        living.begin()
        await told(living, "AgentFailed")
        await living.settle()
        assert living.life is not None
        assert not living.life.done()

    assert fleet.world.turn().status == TurnStatus.OPEN


async def test_a_gateway_that_died_over_a_turn_gets_it_once_more(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [GatewayGone("gone")]
        living.begin()
        await told(living, "success")

    assert len(living.played.ran) == 2


async def test_a_gateway_that_does_not_come_back_ends_the_agent_and_not_the_turn(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [GatewayGone("gone"), GatewayGone("gone")]
        living.begin()
        assert await living.ended() == 1

    assert fleet.tokens.ended == [("token", "AgentFailed")]
    assert agent(fleet).status == AgentStatus.STOPPED


async def test_a_gateway_that_never_boots_ends_the_agent_and_not_the_turn(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet, boots=False) as living:
        living.begin()
        await living.until(lambda: agent(fleet).in_flight == 1)
        living.played.die()
        assert await living.ended() == 1

    assert fleet.tokens.ended == [("token", "AgentFailed")]


async def test_a_gateway_that_dies_while_nothing_is_to_be_done_ends_the_agent(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet) as living:
        living.begin()
        await living.until(lambda: living.openclaw.is_ready)
        living.played.die()
        await living.pass_time(5)
        assert await living.ended() == 1

    assert agent(fleet).status == AgentStatus.STOPPED


async def test_an_answer_that_comes_late_changes_nothing_and_the_agent_sees_the_other(fleet: Fleet) -> None:
    claim = fleet.turn("one")
    fleet.hand_over(claim)
    async with an_agent(fleet) as living:
        living.played.script = [None]
        living.begin()
        await living.until(lambda: living.played.hanging)
        fleet.world.ask("copilot")(claim)
        assert living.played._hanging is not None
        living.played._hanging.set_result(result("late"))
        await told(living, "success")
        second = next_turn(fleet, claim, "two")
        fleet.hand_over(second, "token 2")
        await living.pass_time(1)
        await told(living, "success", "success")

    assert fleet.world.turn(1).reply == "copilot: one"
    assert living.bridge.counts.late == 1
    assert "copilot: one" in living.played.ran[1][1]


async def test_a_run_that_nobody_wants_any_more_is_aborted(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    async with an_agent(fleet) as living:
        living.played.script = [None]
        living.begin()
        await living.until(lambda: living.played.hanging)
        fleet.world.ask("copilot")(claim)
        await living.pass_time(1)
        await told(living, "success")
        assert living.played.order.count("abort") == 1

    assert fleet.world.turn().reply == "copilot: do something"


async def test_a_run_that_was_aborted_in_the_gateway_leaves_the_turn_to_the_chat_lane(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [None]
        living.begin()
        await living.until(lambda: living.played.hanging)
        await living.openclaw.abort()
        await told(living, "AgentFailed")


async def test_a_turn_whose_time_is_over_is_not_run(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    mail = fleet.agents.mail(CHAT)[0]
    fleet.world.clock.moment = mail.deadline - 4
    async with an_agent(fleet) as living:
        living.begin()
        await told(living, "AgentFailed")

    assert living.played.ran == []


async def test_a_signal_in_the_middle_of_a_run_hands_the_turn_back(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [None]
        living.begin()
        await living.until(lambda: living.played.hanging)
        living.stop.set()
        assert await living.ended() == 0

    assert fleet.tokens.ended == [("token", "AgentInterrupted")]
    assert fleet.world.turn().status == TurnStatus.OPEN
    assert (agent(fleet).status, agent(fleet).pending, agent(fleet).crashes) == (AgentStatus.STOPPED, 0, None)
    assert sorted(living.played.order[-4:]) == ["abort", "close", "gateway down", "relay down"]
    assert living.played.order[-1] == "close"


async def test_a_signal_while_openclaw_boots_hands_the_turn_back(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet, boots=False) as living:
        living.begin()
        await living.until(lambda: agent(fleet).in_flight == 1)
        living.stop.set()
        assert await living.ended() == 0

    assert fleet.tokens.ended == [("token", "AgentInterrupted")]
    assert agent(fleet).status == AgentStatus.STOPPED


async def test_what_was_handed_back_is_answered_by_the_next_generation(fleet: Fleet) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    async with an_agent(fleet) as living:
        living.played.script = [None]
        living.begin()
        await living.until(lambda: living.played.hanging)
        living.stop.set()
        await living.ended()
    assert fleet.hand_over(claim, "token 2") == "started"
    async with an_agent(fleet) as living:
        living.begin()
        await told(living, "AgentInterrupted", "success")

    assert fleet.world.turn().reply == "done"


async def test_a_lost_lease_ends_the_agent_and_nothing_is_written(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [None]
        living.begin()
        await living.until(lambda: living.played.hanging)
        fleet.world.clock.advance(LEASE_SECONDS + 1)  # frozen meanwhile
        assert fleet.start.wake(CHAT, starter="another") == "started"
        before = agent(fleet)
        living.time.pass_until(fleet.world.clock.now())
        assert await living.ended() == 1

    assert agent(fleet) == before
    assert fleet.tokens.ended == [("token", "AgentInterrupted")]  # by who took the place
    assert "abort" in living.played.order
    assert ("stopping", {"reason": "lease lost"}) in living.log


async def test_a_generation_that_was_replaced_before_it_opened_does_nothing(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="one")
    async with an_agent(fleet) as living:
        fleet.world.clock.advance(300)
        fleet.start.wake(CHAT, starter="two")
        living.begin()
        assert await living.ended() == 0

    assert agent(fleet).status == AgentStatus.STARTING
    assert ("stopping", {"reason": "replaced"}) in living.log


async def test_the_lease_is_kept_for_as_long_as_it_works(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [None]
        living.begin()
        await living.until(lambda: living.played.hanging)
        await living.pass_time(LEASE_SECONDS + 40)
        assert fleet.start.wake(CHAT, starter="another") == "running"
        assert living.life is not None
        assert not living.life.done()


async def test_that_it_takes_messages_is_said_once_it_does_and_not_before(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet, boots=False) as living:
        living.begin()
        await living.pass_time(LEASE_SECONDS / 3 + 5)
        assert (agent(fleet).status, agent(fleet).ready_at) == (AgentStatus.RUNNING, None)
        assert agent(fleet).lease_until >= fleet.world.clock.now() + LEASE_SECONDS - 5
        living.played.boot()
        await living.until(lambda: living.openclaw.is_ready)
        await living.pass_time(1)
        said_at = agent(fleet).ready_at
        assert said_at is not None
        assert said_at >= fleet.world.clock.now() - 1
        counts = counting(fleet)
        await living.pass_time(LEASE_SECONDS)
        assert counts["update_item"] == 3
        assert agent(fleet).ready_at == said_at

    assert agent(fleet).ready_at is None


async def test_that_it_takes_messages_is_said_by_the_next_renewal_if_aws_fails(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.start.wake(CHAT, starter="eager")
    tried = 0

    def unreachable(*_: Any, **__: Any) -> None:
        nonlocal tried
        tried += 1
        monkeypatch.undo()
        raise EndpointConnectionError(endpoint_url="https://dynamodb.test/")

    monkeypatch.setattr(type(fleet.agents), "renew", unreachable)
    async with an_agent(fleet) as living:
        living.begin()
        await living.until(lambda: living.openclaw.is_ready)
        await living.pass_time(LEASE_SECONDS / 3 - 1)
        assert (tried, agent(fleet).ready_at) == (1, None)
        await living.pass_time(3)
        assert agent(fleet).ready_at is not None


async def test_an_idle_agent_stops(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet, idle_seconds=60) as living:
        living.begin()
        await told(living, "success")
        await living.pass_time(58)
        assert agent(fleet).status == AgentStatus.RUNNING
        await living.pass_time(7)
        assert await living.ended() == 0

    assert agent(fleet).status == AgentStatus.STOPPED
    assert ("stopping", {"reason": "idle"}) in living.log
    assert fleet.start.wake(CHAT, starter="later") == "started"


@pytest.mark.parametrize(("runs", "idle_after"), [(0, 900), (1, 900), (2, 1125), (3, 1350), (5, 1800), (6, 1800)])
async def test_in_a_busy_chat_it_stays_longer_and_says_so(fleet: Fleet, runs: int, idle_after: int) -> None:
    claim = fleet.turn()
    fleet.hand_over(claim)
    async with an_agent(fleet, lingers=True) as living:
        living.begin()
        for number in range(runs):
            await told(living, *["success"] * (number + 1))
            claim = next_turn(fleet, claim, f"question {number}")
            if number + 1 < runs:
                fleet.hand_over(claim, f"token {number}")
                await living.pass_time(1)
        if not runs:
            living.bridge._ran_at.clear()
        assert living.bridge._idle_seconds() == idle_after
        if runs:
            await living.pass_time(31)
            assert agent(fleet).idle_after == idle_after


async def test_an_agent_that_is_asked_to_stop_does_so_with_its_next_renewal(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet) as living:
        living.begin()
        await living.until(lambda: living.openclaw.is_ready)
        fleet.agents.ask_to_stop(living.mailbox.generation)
        await living.pass_time(LEASE_SECONDS / 3 + 5)
        assert await living.ended() == 0

    assert (agent(fleet).status, agent(fleet).stop_asked_at) == (AgentStatus.STOPPED, None)
    assert ("stopping", {"reason": "idle"}) in living.log


async def test_an_agent_that_is_asked_to_stop_in_the_middle_of_a_run_finishes_it_first(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [None]
        living.begin()
        await living.until(lambda: living.played.hanging)
        fleet.agents.ask_to_stop(living.mailbox.generation)
        await living.pass_time(LEASE_SECONDS)
        assert living.played.hanging
        assert living.played._hanging is not None
        living.played._hanging.set_result(result())
        await told(living, "success")
        await living.pass_time(5)
        assert await living.ended() == 0


async def test_a_message_that_comes_while_it_stops_is_answered(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.start.wake(CHAT, starter="eager")
    claim = fleet.turn()
    stop = type(fleet.agents).stop

    def stop_and_get_mail(agents: Any, generation: Any) -> bool:
        stopped = stop(agents, generation)
        monkeypatch.undo()
        fleet.hand_over(claim)
        return stopped

    monkeypatch.setattr(type(fleet.agents), "stop", stop_and_get_mail)
    async with an_agent(fleet, idle_seconds=60) as living:
        living.begin()
        await living.until(lambda: living.openclaw.is_ready)
        await living.pass_time(66)
        await told(living, "success")
        assert agent(fleet).status == AgentStatus.RUNNING


async def test_it_looks_often_while_there_is_work_and_seldom_later(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet) as living:
        living.begin()
        await living.pass_time(60)
        busy = living.bridge.counts.polls
        await living.pass_time(100)
        assert 60 <= busy <= 62
        assert living.bridge.counts.polls - busy <= 20
    assert IDLE_SECONDS > 160


async def test_what_an_hour_without_work_costs_of_dynamodb(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet, idle_seconds=2 * 3600) as living:
        living.begin()
        await living.pass_time(120)
        counts = counting(fleet)
        await living.pass_time(3600)
        reads = counts["query"] + counts["get_item"]
        assert 700 <= reads <= 720
        assert 100 <= counts.total() - reads <= 120  # the lease


async def test_what_aws_does_not_do_is_tried_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.hand_over(fleet.turn())
    failures = 3
    store = type(fleet.agents).answer

    def sometimes(*args: Any) -> bool:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise EndpointConnectionError(endpoint_url="https://dynamodb.test/")
        return store(*args)

    monkeypatch.setattr(type(fleet.agents), "answer", sometimes)
    async with an_agent(fleet) as living:
        living.begin()
        await living.until(lambda: living.played.ran)
        await living.pass_time(10)
        await told(living, "success")

    assert fleet.world.turn().reply == "done"


async def test_a_lease_that_cannot_be_renewed_is_lost_when_its_time_is_over(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.start.wake(CHAT, starter="eager")

    def unreachable(*_: Any) -> bool:
        raise EndpointConnectionError(endpoint_url="https://dynamodb.test/")

    async with an_agent(fleet) as living:
        living.begin()
        await living.until(lambda: living.openclaw.is_ready)
        monkeypatch.setattr(type(fleet.agents), "renew", unreachable)
        await living.pass_time(LEASE_SECONDS)
        assert await living.ended() == 1

    assert agent(fleet).status == AgentStatus.RUNNING  # nothing was written: others see that the lease has run out


async def test_a_fault_of_ours_gives_the_turn_to_the_chat_lane_and_ends_the_agent(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [ZeroDivisionError("what somebody wrote")]
        living.begin()
        assert await living.ended() == 1

    assert fleet.tokens.ended == [("token", "AgentFailed")]
    assert (agent(fleet).status, agent(fleet).crashes) == (AgentStatus.STOPPED, 1)
    assert "what somebody wrote" not in str(living.log)
    assert [fields["error"] for message, fields in living.log if message == "stopping"] == ["ZeroDivisionError"]


async def test_an_answer_after_a_fallback_is_logged_as_one(fleet: Fleet) -> None:
    fleet.hand_over(fleet.turn())
    attempts = (FallbackAttempt("copilot", "m", "rate_limit"),)
    async with an_agent(fleet) as living:
        living.played.script = [replace(result(provider="openrouter"), fallback_attempts=attempts)]
        living.begin()
        await told(living, "success")
        await living.until(lambda: any(message == "fallback answered" for message, _ in living.log))


# The workspace


async def test_after_a_turn_the_workspace_is_kept_if_it_has_changed(fleet: Fleet) -> None:
    claim = fleet.turn("write a file")
    fleet.hand_over(claim)
    async with an_agent(fleet) as living:
        living.begin()
        await told(living, "success")
        await living.until(lambda: living.keeping.made)

    assert living.keeping.made == [(Contained(claim.number, {0: 1}), Root.WORKSPACE)]


async def test_the_workspace_is_kept_every_five_minutes(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet, idle_seconds=3600) as living:
        living.begin()
        await living.pass_time(3 * BACK_UP_SECONDS + 3 * BACKUP_LOOK_SECONDS)

        assert living.keeping.made == [(Contained(), None)] * 3


async def test_who_asks_for_a_backup_gets_it_with_the_next_renewal_and_once(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet) as living:
        living.begin()
        await living.pass_time(45)
        assert fleet.agents.ask_to_back_up(living.mailbox.generation, told=False)
        await living.pass_time(LEASE_SECONDS / 3)
        asked = list(living.keeping.made)
        await living.pass_time(LEASE_SECONDS)

        assert (asked, living.keeping.made) == ([(Contained(), None)], [(Contained(), None)])


async def test_the_lease_says_how_the_backups_stand(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet, idle_seconds=3600) as living:
        living.begin()
        await living.settle()
        began = agent(fleet).kept_at
        await living.pass_time(BACK_UP_SECONDS + BACKUP_LOOK_SECONDS + LEASE_SECONDS / 3)
        kept = agent(fleet).kept_at - began
        living.keeping.fails = True
        await living.pass_time(2 * BACK_UP_SECONDS)

        assert BACK_UP_SECONDS <= kept <= BACK_UP_SECONDS + BACKUP_LOOK_SECONDS
        assert agent(fleet).kept_at - began == kept


async def test_a_signal_has_the_workspace_kept_after_the_gateway_has_ended_and_before_the_place_is_given_up(
    fleet: Fleet,
) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:
        living.played.script = [None]
        seen: list[tuple[str, list[str], str]] = []

        async def last(contained: Contained, *, seconds: float) -> None:
            seen.append((agent(fleet).status, list(living.played.order), fleet.tokens.ended[-1][1]))
            assert seconds < BOOKS_SECONDS

        living.keeping.back_up_last = last  # type: ignore[method-assign]
        living.begin()
        await living.until(lambda: living.played.hanging)
        living.stop.set()
        assert await living.ended() == 0

    ((status, order, told_before),) = seen
    assert status == AgentStatus.STOPPING
    assert "gateway down" in order
    assert told_before == "AgentInterrupted"  # who waits need not wait for the backup
    assert agent(fleet).status == AgentStatus.STOPPED


async def test_the_place_is_kept_during_a_long_last_backup(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet) as living:
        kept: list[bool] = []

        async def last(contained: Contained, *, seconds: float) -> None:
            for _ in range(4):
                await living.bridge._sleep(LEASE_SECONDS / 3 + 1)
                kept.append(agent(fleet).lease_until > fleet.world.clock.now())

        living.keeping.back_up_last = last  # type: ignore[method-assign]
        living.begin()
        await living.until(lambda: living.openclaw.is_ready)
        living.stop.set()
        await living.until(lambda: agent(fleet).status == AgentStatus.STOPPING)
        await living.pass_time(4 * LEASE_SECONDS / 3 + 10)
        assert await living.ended() == 0

    assert kept == [True] * 4


async def test_an_idle_agent_whose_workspace_can_not_be_kept_goes_on_for_a_while(fleet: Fleet) -> None:
    fleet.start.wake(CHAT, starter="eager")
    async with an_agent(fleet, idle_seconds=60) as living:
        living.keeping.fails = True
        living.begin()
        await living.pass_time(130)
        assert agent(fleet).status == AgentStatus.RUNNING
        await living.pass_time(130)
        assert await living.ended() == 0

    assert agent(fleet).status == AgentStatus.STOPPED


async def test_what_came_after_the_restored_memory_is_told_to_the_agent(fleet: Fleet) -> None:
    first = fleet.turn("one")
    fleet.world.ask("copilot")(first)
    second = next_turn(fleet, first, "two")
    fleet.world.ask("copilot")(second)
    third = next_turn(fleet, second, "three")
    fleet.hand_over(third)
    keeping = KeepingDouble(fleet.world.clock, restored=Contained(1, {0: 1}))
    async with an_agent(fleet, keeping=keeping) as living:
        living.begin()
        await told(living, "success")
        await living.until(lambda: bool(living.keeping.made))  # beside the next turns

    assert [message for _, message in living.played.ran] == [history_of("two") + "three"]
    assert living.keeping.made[-1][0] == Contained(3, {0: 3})


async def test_a_workspace_that_can_not_be_restored_gives_the_turn_to_the_chat_lane_and_ends_the_agent(
    fleet: Fleet,
) -> None:
    fleet.hand_over(fleet.turn())
    async with an_agent(fleet) as living:

        async def refuse() -> None:
            raise SnapshotUnreadable("a content is missing")

        living.openclaw._prepare = refuse
        living.begin()
        assert await living.ended() == 1

    assert fleet.tokens.ended == [("token", "AgentFailed")]
    assert "connect" not in living.played.order
    assert "configure" not in living.played.order

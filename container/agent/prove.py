"""`python -m agent.prove`, a step of the image's build: boots OpenClaw once and fails if it is not what we build on.

Proved, with a provider on loopback that follows a script: OpenClaw takes our configuration; a message put to it over
the gateway's protocol is answered; a 429 is one request, after which the next provider of the chain answers. What
Node compiled on the way is left in COMPILE_CACHE, for everybody to read and nobody to write: with it a start is seconds
quicker. Exit status 0, or 1 with what is wrong on standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agent import privileges, wiring
from agent.gateway import GatewayDied
from agent.gateway_client import GatewayError
from agent.memory_ledger import MemoryLedger
from agent.relay_call import NO_TURN
from agent.serving import listening, server
from agent.settings import read_place
from agent.spending import Spending
from agent.threads import Threads
from assistant.turns.chain import load_chain
from assistant.wiring import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from agent.gateway import GatewaySettings
    from agent.openclaw import Ran
    from agent.relay_call import RelayedTurn
    from agent.serving import Server
    from agent.settings import PlaceSettings

ANSWER = "Proved."
NOT_PROVED = 1

_SESSION = "agent:main:prove"
_RUN_SECONDS = 120
_VALIDATE_SECONDS = 120


class NotProved(Exception):
    """OpenClaw does something else than we build on; the message says what."""


class ScriptedRelay:
    """In the relay's place: the chain's first provider refuses with 429, every other answers.

    Attributes:
        turn: nobody's.
        asked: how often each provider was asked, by its id.

    Args:
        token: what OpenClaw has to show.
        refuses: the id of the one that refuses.
    """

    def __init__(self, token: str, refuses: str) -> None:
        self.turn: RelayedTurn = NO_TURN
        self.asked: Counter[str] = Counter()
        self._token = token
        self._refuses = refuses
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen on loopback; the address."""
        socket = listening("127.0.0.1", 0, waiting=8)
        routes = [Route("/{provider}/chat/completions", self._complete, methods=["POST"])]
        self._server = server(Starlette(routes=routes), most_connections=16, stop_seconds=1)
        self._serving = asyncio.create_task(self._server.serve(sockets=[socket]))
        return f"http://127.0.0.1:{socket.getsockname()[1]}"

    async def stop(self) -> None:
        """End."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving

    async def _complete(self, request: Request) -> Response:
        provider = str(request.path_params["provider"])
        self.asked[provider] += 1
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return JSONResponse({"error": {"message": "another token", "code": 401}}, 401)
        if provider == self._refuses:
            return JSONResponse({"error": {"message": "rate limited", "code": 429}}, 429)
        return PlainTextResponse(_streamed(ANSWER), media_type="text/event-stream")


def main(environment: Mapping[str, str]) -> int:
    """Prove it, and say so; the exit status."""
    place = read_place(environment)
    try:
        with TemporaryDirectory(prefix="prove-") as folder:
            Path(folder).chmod(0o711)  # OpenClaw's user passes through it
            told = asyncio.run(prove(_placed(place, Path(folder)), environment))
    except (NotProved, GatewayDied, GatewayError, OSError) as error:
        sys.stderr.write(f"not proved: {error}\n")
        return NOT_PROVED
    finally:
        _seal(place)
    sys.stdout.write(json.dumps(told | {"compile_cache_mb": _megabytes(place)}) + "\n")
    return 0


async def prove(place: PlaceSettings, inherited: Mapping[str, str]) -> dict[str, object]:
    """Boot OpenClaw, put a message to it, end it; what was seen.

    Raises:
        NotProved: it did something else than it should.
        GatewayDied, GatewayError: there was no answer.
    """
    chain, token, threads = load_chain(), secrets.token_urlsafe(32), Threads(2, "prove")
    first, second, *_ = (provider.id for provider in chain.providers)
    relay = ScriptedRelay(token, refuses=first)
    gateway = wiring.gateway_settings(place, token)
    spending = Spending(MemoryLedger(clock()))
    openclaw = wiring.openclaw_with(gateway, relay, place, inherited, chain, spending, warm=_nothing, threads=threads)
    try:
        await openclaw.start()
        await threads(_validate, gateway, inherited)
        ran = await openclaw.run(_SESSION, "Hello", seconds_left=lambda: _RUN_SECONDS)
    finally:
        await openclaw.stop()
        threads.close()
    _check(ran, relay.asked, first, second)
    return {"seconds": openclaw.seconds, "asked": dict(relay.asked)}


def _check(ran: Ran, asked: Mapping[str, int], first: str, second: str) -> None:
    result = ran.result
    if (result.text, result.provider) != (ANSWER, second):
        raise NotProved(f"{result.provider} answered with {len(result.text)} characters instead of {second}")
    if asked != {first: 1, second: 1}:
        raise NotProved(f"a 429 has to be one request, and an answer, too; it was {dict(asked)}")
    if [each.provider for each in result.fallback_attempts] != [first]:
        raise NotProved("the run does not say who was asked before")


def _validate(gateway: GatewaySettings, inherited: Mapping[str, str]) -> None:
    """Have OpenClaw itself judge the configuration: a warning is a key that it does not use."""
    done = subprocess.run(  # noqa: S603 (the image's own program)
        gateway.command("config", "validate", "--json"),
        env=gateway.environment(inherited),
        capture_output=True,
        timeout=_VALIDATE_SECONDS,
        check=False,
    )
    try:
        said = json.loads(done.stdout)
    except ValueError:
        raise NotProved(f"`openclaw config validate` ended with status {done.returncode}") from None
    if not said["valid"] or said.get("warnings"):
        raise NotProved(f"the configuration: {json.dumps(said)}")


def _placed(place: PlaceSettings, folder: Path) -> PlaceSettings:
    """Below a folder that is gone afterwards; what is compiled stays, and is for OpenClaw's user to write for now."""
    if place.compile_cache:
        cache, user = Path(place.compile_cache), privileges.separate_user(place.agent_user)
        cache.mkdir(parents=True, exist_ok=True)
        if user is not None:
            os.chown(cache, user, user)
    return replace(
        place,
        state_folder=str(folder / "state"),
        workspace_folder=str(folder / "workspace"),
        temporary_folder=str(folder / "tmp"),
    )


def _seal(place: PlaceSettings) -> None:
    """Make what was compiled ours, and readable."""
    for path in _compiled(place):
        os.chown(path, os.geteuid(), os.getegid())
        path.chmod(0o755 if path.is_dir() else 0o644)


def _compiled(place: PlaceSettings) -> list[Path]:
    cache = Path(place.compile_cache)
    return [cache, *cache.rglob("*")] if place.compile_cache and cache.is_dir() else []


def _megabytes(place: PlaceSettings) -> float:
    return round(sum(path.stat().st_size for path in _compiled(place) if path.is_file()) / 1e6, 1)


def _nothing() -> None:
    """There is nothing to warm."""


def _streamed(text: str) -> str:
    """A completion, as the OpenAI API streams it."""

    def chunk(delta: dict[str, str], finish: str | None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        told = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice], **more}
        return f"data: {json.dumps(told)}\n\n"

    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return chunk({"role": "assistant", "content": text}, None) + chunk({}, "stop", usage=usage) + "data: [DONE]\n\n"


if __name__ == "__main__":
    sys.exit(main(os.environ))

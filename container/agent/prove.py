"""`python -m agent.prove`, a step of the image's build: boots OpenClaw and fails if it is not what we build on.

Proved, with a provider on loopback that follows a script: OpenClaw takes our configuration; a message put to it over
the gateway's protocol is answered; a 429 is one request, after which the next provider of the chain answers; and it
begins with a prepared state. What Node compiled on the way is left in COMPILE_CACHE, the state in PREPARED_STATE, for
everybody to read and nobody to write. Exit status 0, or 1 with what is wrong on standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agent import prepared_state, privileges, wiring
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
_TERM_SECONDS = 60  # what was compiled is written at the very end
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
        port: where to listen on loopback; 0 for any.
        refuses: the id of the one that refuses.
    """

    def __init__(self, token: str, port: int, *, refuses: str) -> None:
        self.turn: RelayedTurn = NO_TURN
        self.asked: Counter[str] = Counter()
        self._token = token
        self._port = port
        self._refuses = refuses
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen on loopback; the address."""
        socket = listening("127.0.0.1", self._port, waiting=8)
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
        told = _proved(place, environment)
    except (NotProved, GatewayDied, GatewayError, OSError, sqlite3.Error) as error:
        sys.stderr.write(f"not proved: {error}\n")
        return NOT_PROVED
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _proved(place: PlaceSettings, inherited: Mapping[str, str]) -> dict[str, object]:
    """Boot twice: with nothing, and then with what the first left for the second, and for every container."""
    cache = Path(place.compile_cache)
    _open(cache, privileges.separate_user(place.agent_user))
    first = asyncio.run(_boot(replace(place, prepared_state=""), inherited))
    prepared_state.make(place.state, Path(place.prepared_state), Path(place.openclaw))
    _empty(place)
    second = asyncio.run(_boot(place, inherited))
    if not prepared_state.was_taken(Path(place.prepared_state), place.state):
        raise NotProved("OpenClaw does not begin with the state that was prepared for it")
    _empty(place)
    _seal(cache)
    return {"first": first, "second": second, "compile_cache_mb": _megabytes(cache)}


async def _boot(place: PlaceSettings, inherited: Mapping[str, str]) -> dict[str, float]:
    """Boot OpenClaw, put a message to it, end it; the seconds that it took.

    Raises:
        NotProved: it did something else than it should.
        GatewayDied, GatewayError: there was no answer.
    """
    chain, token, threads = load_chain(), secrets.token_urlsafe(32), Threads(2, "prove")
    first, second, *_ = (provider.id for provider in chain.providers)
    relay = ScriptedRelay(token, place.relay_port, refuses=first)
    gateway = wiring.gateway_settings(place, token)
    spending = Spending(MemoryLedger(clock()))
    openclaw = wiring.openclaw_with(
        gateway,
        relay,
        place,
        inherited,
        chain=chain,
        spending=spending,
        warm=_nothing,
        threads=threads,
        term_seconds=_TERM_SECONDS,
    )
    try:
        await openclaw.start()
        await threads(_validate, gateway, inherited)
        ran = await openclaw.run(_SESSION, "Hello", seconds_left=lambda: _RUN_SECONDS)
    finally:
        await openclaw.stop()
        threads.close()
    _check(ran, relay.asked, first, second)
    return openclaw.seconds


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


def _empty(place: PlaceSettings) -> None:
    """Leave nothing of a boot: the folders' content is no part of the image."""
    for folder in (place.state, Path(place.workspace_folder), Path(place.temporary_folder)):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _open(cache: Path, user: int | None) -> None:
    """Let OpenClaw's user write what it compiles, this once."""
    cache.mkdir(parents=True, exist_ok=True)
    if user is not None:
        os.chown(cache, user, user)


def _seal(cache: Path) -> None:
    """Make what was compiled ours, and readable."""
    for path in [cache, *cache.rglob("*")]:
        os.chown(path, os.geteuid(), os.getegid())
        path.chmod(0o755 if path.is_dir() else 0o644)


def _megabytes(cache: Path) -> float:
    return round(sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) / 1e6, 1)


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

"""A WebSocket server on loopback that greets as OpenClaw's gateway does and answers by a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

TOKEN = "token-of-this-boot"

type Json = dict[str, Any]
type Answer = Callable[["Conversation", Json], Coroutine[Any, Any, None]]


@dataclass
class Conversation:
    """One connection, seen from the gateway."""

    socket: ServerConnection

    async def send(self, frame: Json) -> None:
        await self.socket.send(json.dumps(frame))

    async def respond(self, request: Json, payload: Json) -> None:
        await self.send({"type": "res", "id": request["id"], "ok": True, "payload": payload, "unknown": 1})

    async def refuse(self, request: Json, code: str, message: str = "", **details: Any) -> None:
        error = {"code": code, "message": message, "details": details, "retryable": False}
        await self.send({"type": "res", "id": request["id"], "ok": False, "error": error})

    async def accept(self, request: Json) -> None:
        await self.respond(request, {"runId": run_of(request), "status": "accepted", "acceptedAt": 1})

    async def tell(self, request: Json, stream: str, **data: Any) -> None:
        payload = {"runId": run_of(request), "stream": stream, "data": data, "seq": 1, "ts": 1}
        await self.send({"type": "event", "event": "agent", "payload": payload, "seq": 1})

    async def observe_failure(self, request: Json, provider: str, reason: str = "rate_limit") -> None:
        seen = {"provider": provider, "model": "m", "failoverReason": reason, "providerRuntimeFailureKind": reason}
        await self.tell(request, "lifecycle", phase="finishing", error="text", errorObservation=seen)


@dataclass
class ScriptedGateway:
    """The server's script, and what it was asked.

    Attributes:
        answers: by method; a method that is missing is never answered.
        starting: how many more greetings are answered by "gateway starting".
        boot_id: told in each greeting.
    """

    answers: dict[str, Answer]
    starting: int = 0
    boot_id: str = "boot-1"
    url: str = ""
    requests: list[Json] = field(default_factory=list)
    connections: list[Conversation] = field(default_factory=list)

    def asked(self, method: str) -> list[Json]:
        return [request["params"] for request in self.requests if request["method"] == method]

    async def serve(self, socket: ServerConnection) -> None:
        conversation = Conversation(socket)
        await conversation.send({"type": "event", "event": "connect.challenge", "payload": {"nonce": "n", "ts": 1}})
        request = json.loads(await socket.recv())
        self.requests.append(request)
        if self.starting > 0:
            self.starting -= 1
            await conversation.refuse(request, "UNAVAILABLE", "gateway starting", reason="startup-sidecars")
        elif request["params"]["auth"]["token"] != TOKEN:
            await conversation.refuse(request, "INVALID_REQUEST", "unauthorized")
        else:
            self.connections.append(conversation)
            server = {"version": "2026.9.6", "bootId": self.boot_id, "connId": "c"}
            await conversation.respond(request, {"type": "hello-ok", "protocol": 4, "server": server, "policy": {}})
            await self._answer(conversation)

    async def _answer(self, conversation: Conversation) -> None:
        async with asyncio.TaskGroup() as answering:
            async for message in conversation.socket:
                request = json.loads(message)
                self.requests.append(request)
                if answer := self.answers.get(request["method"]):
                    answering.create_task(answer(conversation, request))


@asynccontextmanager
async def scripted_gateway(**answers: Answer) -> AsyncIterator[ScriptedGateway]:
    """Serve on a port of the system's choice. `chat_abort` stands for the method `chat.abort`."""
    gateway = ScriptedGateway({name.replace("_", "."): answer for name, answer in answers.items()})
    async with serve(gateway.serve, "127.0.0.1", 0, close_timeout=0.2) as server:
        gateway.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield gateway


def run_of(request: Json) -> str:
    return str(request["params"].get("idempotencyKey"))


def finished(text: str, **agent_meta: Any) -> Json:
    """The last response to `agent`, as the pinned version was seen to send it."""
    usage = {"input": 95, "output": 127, "cacheRead": 1, "cacheWrite": 8573, "total": 8795, "cost": {"total": 0.0229}}
    meta = {"sessionId": "s", "provider": "anthropic", "model": "claude-sonnet-5", "usage": usage, **agent_meta}
    return {
        "runId": "r",
        "status": "ok",
        "summary": "completed",
        "result": {
            "payloads": [{"text": text, "mediaUrl": None}, {"mediaUrl": "x"}],
            "meta": {"durationMs": 1917, "agentMeta": meta},
        },
    }

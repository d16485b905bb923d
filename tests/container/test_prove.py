"""The proof at the image's build: what it asks for and what it refuses. The build runs it with the real OpenClaw."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from agent import prepared_state, prove
from agent.gateway import GatewaySettings
from agent.gateway_frames import FallbackAttempt
from agent.openclaw import Ran
from agent.prove import ANSWER, NotProved, ScriptedRelay
from agent.settings import read_place
from tests.container.bridging import result

if TYPE_CHECKING:
    from agent.settings import PlaceSettings

FIRST, SECOND = "copilot", "openrouter"
ATTEMPT = (FallbackAttempt(FIRST, "m", "rate_limit"),)


@pytest.fixture
def place(tmp_path: Path) -> PlaceSettings:
    folders = {"STATE_FOLDER": "state", "WORKSPACE_FOLDER": "workspace", "TEMPORARY_FOLDER": "tmp"}
    for folder in folders.values():
        (tmp_path / folder).mkdir()
    (tmp_path / "openclaw.mjs").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "openclaw.mjs").chmod(0o755)
    return read_place(
        {name: str(tmp_path / folder) for name, folder in folders.items()}
        | {"NODE": "/bin/sh", "OPENCLAW": str(tmp_path / "openclaw.mjs"), "COMPILE_CACHE": str(tmp_path / "cache")}
        | {"PREPARED_STATE": str(tmp_path / "prepared")}
    )


@pytest.mark.anyio
async def test_the_first_provider_refuses_and_the_second_answers_who_shows_the_token() -> None:
    relay = ScriptedRelay("t", 0, refuses=FIRST)
    url = await relay.start()
    try:
        async with httpx.AsyncClient(headers={"Authorization": "Bearer t"}, trust_env=False) as http:
            refused = await http.post(f"{url}/{FIRST}/chat/completions", json={})
            answered = await http.post(f"{url}/{SECOND}/chat/completions", json={})
            stranger = await http.post(f"{url}/{SECOND}/chat/completions", headers={"Authorization": "Bearer x"})
    finally:
        await relay.stop()

    assert [refused.status_code, answered.status_code, stranger.status_code] == [429, 200, 401]
    assert relay.asked == {FIRST: 1, SECOND: 2}
    pieces = [json.loads(line[6:]) for line in answered.text.split("\n\n") if line.startswith("data: {")]
    assert "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces) == ANSWER


@pytest.mark.parametrize(
    ("answer", "asked", "wrong"),
    [
        (result(ANSWER, SECOND, ATTEMPT), {FIRST: 1, SECOND: 1}, ""),
        (result(ANSWER, SECOND, ATTEMPT), {FIRST: 10, SECOND: 1}, "one request"),
        (result(ANSWER, SECOND), {FIRST: 1, SECOND: 1}, "asked before"),
        (result("other", SECOND, ATTEMPT), {FIRST: 1, SECOND: 1}, "answered with"),
        (result(ANSWER, "anthropic", ATTEMPT), {FIRST: 1, SECOND: 1}, "instead of"),
    ],
)
def test_anything_else_fails_the_build(answer: Any, asked: dict[str, int], wrong: str) -> None:
    if not wrong:
        prove._check(Ran(answer, 0), asked, FIRST, SECOND)
        return
    with pytest.raises(NotProved, match=wrong):
        prove._check(Ran(answer, 0), asked, FIRST, SECOND)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ('{"valid": true, "warnings": []}', ""),
        ('{"valid": true, "warnings": [{"message": "unused"}]}', "unused"),
        ('{"valid": false, "issues": ["gateway.port"]}', "gateway.port"),
        ("", "status 0"),
    ],
)
def test_a_configuration_with_a_warning_is_none(said: str, wrong: str, tmp_path: Path) -> None:
    script = tmp_path / "openclaw.sh"
    script.write_text(f"[ \"$*\" = 'config validate --json' ] && echo '{said}'")
    gateway = replace(_gateway(tmp_path), openclaw=script)
    if not wrong:
        prove._validate(gateway, {})
        return
    with pytest.raises(NotProved, match=wrong):
        prove._validate(gateway, {})


def test_an_openclaw_that_does_not_start_fails_the_build(
    place: PlaceSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {
        "NODE": place.node,
        "OPENCLAW": place.openclaw,
        "STATE_FOLDER": place.state_folder,
        "WORKSPACE_FOLDER": place.workspace_folder,
        "TEMPORARY_FOLDER": place.temporary_folder,
        "COMPILE_CACHE": place.compile_cache,
    }

    assert prove.main(environment) == 1

    assert "not proved: the gateway ended" in capsys.readouterr().err


@pytest.mark.parametrize("taken", [True, False])
def test_it_boots_twice_and_leaves_only_what_the_image_keeps(
    taken: bool, place: PlaceSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boots: list[str] = []

    async def boot(settings: PlaceSettings, _: Any) -> dict[str, float]:
        boots.append(settings.prepared_state)
        (settings.state / "agents").mkdir()
        settings.workspace.mkdir()
        (settings.workspace / "AGENTS.md").symlink_to(tmp_path / "openclaw.mjs")
        (tmp_path / "cache" / "v26").mkdir(exist_ok=True)
        (tmp_path / "cache" / "v26" / "compiled").write_bytes(b"c" * 200_000)
        return {"all": 1.0}

    monkeypatch.setattr(prove, "_boot", boot)
    monkeypatch.setattr(prepared_state, "make", lambda *_: None)
    monkeypatch.setattr(prepared_state, "was_taken", lambda *_: taken)
    if not taken:
        with pytest.raises(NotProved, match="does not begin"):
            prove._proved(place, {})
        return

    told = prove._proved(place, {})

    assert boots == ["", str(tmp_path / "prepared")]
    assert told == {"first": {"all": 1.0}, "second": {"all": 1.0}, "compile_cache_mb": 0.2}
    assert list(place.state.iterdir()) == list(Path(place.workspace_folder).iterdir()) == []
    assert stat.S_IMODE((tmp_path / "cache" / "v26" / "compiled").stat().st_mode) == 0o644


def _gateway(folder: Path) -> GatewaySettings:
    return GatewaySettings(
        node=folder.__class__("/bin/sh"),
        openclaw=folder,
        config=folder / "openclaw.json",
        state=folder,
        workspace=folder,
        temporary=folder,
        port=1,
        token="t",
    )

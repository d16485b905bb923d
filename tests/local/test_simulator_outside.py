"""The outside put together: a real key takes its simulator's place, and is never shown."""

from io import StringIO

import pytest
from rich.console import Console

from local.simulators import Fault
from local.simulators.outside import CONNECTIONS, Outside, real_keys
from local.stage import introduce

REAL = "real-key-that-nobody-may-see"


class FixedClock:
    def now(self) -> float:
        return 1_794_300_000.0


@pytest.fixture
def outside() -> Outside:
    return Outside(FixedClock(), {"openrouter": REAL})


def test_everything_is_simulated_unless_a_key_is_given() -> None:
    simulated = Outside(FixedClock())

    assert list(simulated.providers) == list(CONNECTIONS)
    assert set(simulated.mounts) == {"telegram", "copilot", "openrouter", "ollama", "anthropic"}
    assert simulated.secrets.keys() >= {connection.secret for connection in CONNECTIONS.values()}


def test_a_real_key_takes_the_simulators_place(outside: Outside) -> None:
    assert "openrouter" not in outside.providers
    assert "openrouter" not in outside.mounts
    assert outside.secrets["openrouter-api-key"] == REAL
    with pytest.raises(ValueError, match="takes no orders"):
        outside.order("openrouter", Fault.SERVER_ERROR)


def test_a_real_key_is_announced_and_not_shown(outside: Outside) -> None:
    screen = StringIO()

    introduce(Console(file=screen, width=200), outside)

    assert "openrouter is the real one" in screen.getvalue()
    assert REAL not in screen.getvalue() + repr(outside)


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for connection in CONNECTIONS.values():
        monkeypatch.delenv(connection.variable, raising=False)
    monkeypatch.setenv("OLLAMA_API_KEY", REAL)

    assert real_keys() == {"ollama-cloud": REAL}

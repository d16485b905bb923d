"""The handler that the local runtime runs in every function process.

It puts the virtual clock into the product, then calls the product's real handler. The product knows
nothing of it.
"""

import importlib
import os
from collections.abc import Callable
from typing import Any

from local.clock import RemoteClock

_clock = RemoteClock(os.environ["LOCAL_CLOCK_URL"])


def _install_clock() -> None:
    """Hand the clock to the product, if that is what runs here (the tests have functions of their own)."""
    try:
        wiring = importlib.import_module("assistant.wiring")
    except ModuleNotFoundError as missing:
        if missing.name not in {"assistant", "assistant.wiring"}:
            raise
        return
    wiring.install_clock(_clock)


def _real_handler() -> Callable[[Any, Any], Any]:
    module, _, name = os.environ["LOCAL_REAL_HANDLER"].rpartition(".")
    real: Callable[[Any, Any], Any] = getattr(importlib.import_module(module), name)
    return real


_clock.refresh()
_install_clock()
_handler = _real_handler()


def handler(event: Any, context: Any) -> Any:  # noqa: ANN401 (an event is any JSON)
    """Call the real handler with the clock up to date."""
    _clock.refresh()
    return _handler(event, context)

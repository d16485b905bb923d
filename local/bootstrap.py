"""The handler that the local runtime runs in every function process.

It puts the virtual clock into the product, then calls the product's real handler. The product knows
nothing of it.
"""

import importlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from local.clock import RemoteClock

_CONNECT_TIMEOUT_S = 5.0

_clock = RemoteClock(os.environ["LOCAL_CLOCK_URL"])
_driver = urlsplit(os.environ["LOCAL_DRIVER_URL"])


def _die_with_driver() -> None:
    """End this process and the emulator above it when the local cloud is gone, even if it was killed."""
    address = (_driver.hostname or "127.0.0.1", _driver.port or 80)
    with socket.create_connection(address, timeout=_CONNECT_TIMEOUT_S) as connection:
        connection.sendall(f"GET {_driver.path} HTTP/1.0\r\nHost: {_driver.netloc}\r\n\r\n".encode())
        connection.settimeout(None)
        while connection.recv(4096):
            pass
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(1)


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
threading.Thread(target=_die_with_driver, name="driver", daemon=True).start()
_install_clock()
_handler = _real_handler()
_arn = os.environ["LOCAL_FUNCTION_ARN"]
_init_key = os.environ["LOCAL_INIT_KEY"]
_allowance_ms = 1000 * int(os.environ["LOCAL_DEADLINE_ALLOWANCE_S"])


def handler(event: Any, context: Any) -> Any:  # noqa: ANN401 (an event is any JSON)
    """Call the real handler with the clock up to date, and a context as Lambda would have made it."""
    if isinstance(event, dict) and _init_key in event:
        return os.environ["AWS_ACCESS_KEY_ID"]
    _clock.refresh()
    context._epoch_deadline_time_in_ms -= _allowance_ms  # noqa: SLF001 (the runtime client has no other way in)
    context.invoked_function_arn = _arn
    return _handler(event, context)

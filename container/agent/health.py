"""The container's health check, `python -m agent.health`: exit status 0 if the bridge answers."""

from __future__ import annotations

import os
import sys

import httpx

from agent import settings


def healthy(port: int) -> bool:
    """Whether a bridge answers at that port on loopback."""
    try:
        with httpx.Client(trust_env=False, timeout=3) as http:
            return http.get(f"http://127.0.0.1:{port}/health").is_success
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(0 if healthy(settings.read_port(os.environ)) else 1)

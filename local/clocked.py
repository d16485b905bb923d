"""Runs a module with the local cloud's virtual clock in the product: `python -m local.clocked MODULE [ARGUMENT…]`."""

import os
import runpy
import sys

from assistant import wiring
from local.clock import RemoteClock

if __name__ == "__main__":
    wiring.install_clock(RemoteClock(os.environ["LOCAL_CLOCK_URL"]))
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

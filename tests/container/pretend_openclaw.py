"""Stands in for `openclaw.mjs`: run by Python instead of Node, it does what `behaviour.json` in its state folder says.

Keys: `ready_after` (how many times /readyz is refused), `exit` (a status to end with at once), `exit_when_asked`
(GET /die ends it so), `deaf` (SIGTERM is ignored), `lines` (what it writes), `child` (starts a process that only
SIGKILL ends, and writes its number to `child.pid`).
"""

import http.server
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ["OPENCLAW_STATE_DIR"])
BEHAVIOUR = json.loads((STATE / "behaviour.json").read_text())
PORT = json.loads(Path(os.environ["OPENCLAW_CONFIG_PATH"]).read_text())["gateway"]["port"]
SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


class Probe(http.server.BaseHTTPRequestHandler):
    refusals = BEHAVIOUR.get("ready_after", 0)

    def do_GET(self) -> None:
        if self.path == "/die":
            os._exit(BEHAVIOUR["exit_when_asked"])
        ready = Probe.refusals <= 0
        Probe.refusals -= 1
        self.send_response(200 if ready else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    with (STATE / "starts").open("a") as starts:
        starts.write(
            json.dumps({"environment": dict(os.environ), "arguments": sys.argv[1:], "uid": os.getuid()}) + "\n"
        )
    for line in BEHAVIOUR.get("lines", []):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if "exit" in BEHAVIOUR:
        sys.exit(BEHAVIOUR["exit"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN if BEHAVIOUR.get("deaf") else lambda *_: os._exit(0))
    if BEHAVIOUR.get("child"):
        child = subprocess.Popen([sys.executable, "-c", SLEEP])
        (STATE / "child.pid").write_text(str(child.pid))
    http.server.HTTPServer(("127.0.0.1", PORT), Probe).serve_forever()


main()

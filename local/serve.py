"""The local cloud until Ctrl-C, for other programs on this machine (`python -m local serve`)."""

import platform
import threading
from pathlib import Path

from rich.console import Console

from local import sam
from local.stage import BUILD_DIR, set_up
from local.template import REGION

_HELP = """\
AWS is here:
  export AWS_ENDPOINT_URL={endpoint} AWS_REGION={region}
  export AWS_ACCESS_KEY_ID={key} AWS_SECRET_ACCESS_KEY=local
Telegram, simulated:
  export TELEGRAM_API_URL={endpoint}/telegram
A function in Docker, with what it needs of this cloud (the template has it):
  sam local invoke Webhook -t {template} -e tests/events/webhook_text.json {in_docker}
The API:
  sam local start-api -t {template} {in_docker}
Ctrl-C ends it."""


def _machine() -> dict[str, str]:
    return {"Architecture": "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"}


def run(console: Console, *, build_dir: Path = BUILD_DIR) -> int:
    """Serve until the person ends it.

    Returns:
        The exit code.

    Raises:
        StageError: it could not start.
    """
    with set_up(console, build_dir=build_dir, simulate_all=True, parameters=_machine(), also_on=sam.gateway()) as stage:
        template = sam.write(stage.cloud, build_dir)
        text = _HELP.format(
            endpoint=stage.cloud.endpoint,
            region=REGION,
            in_docker=" ".join(sam.IN_DOCKER),
            key=stage.cloud.admin_key,
            template=template.relative_to(Path.cwd()) if template.is_relative_to(Path.cwd()) else template,
        )
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        threading.Event().wait()
    return 0

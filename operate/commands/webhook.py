"""`webhook set|show|delete`: where Telegram sends what people write to the bot."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from operate.commands import session
from operate.errors import MissingError
from operate.findings import of_webhook
from operate.keys import WEBHOOK_SECRET
from operate.output import marked

app = typer.Typer(no_args_is_help=True, help="Where Telegram sends what people write to the bot.")


@app.command("set")
def set_(context: typer.Context) -> None:
    """Have Telegram send messages to the deployed stack, with the stored secret. Doing it again changes nothing."""
    run = session.of(context)
    url = run.operator.stack.output("WebhookUrl")
    secret = run.operator.parameters.read(WEBHOOK_SECRET.name)
    if secret is None:
        missing = f"The parameter {run.operator.parameters.path}{WEBHOOK_SECRET.name} does not exist."
        raise MissingError(missing, "`python -m operate setup` draws one.")
    run.operator.bot.set_webhook(url, secret)
    run.output.show({"url": url, "set": True}, f"Telegram now sends messages to {url}")


@app.command()
def show(context: typer.Context) -> None:
    """Show where messages go, how many wait, and Telegram's last error."""
    run = session.of(context)
    expected, info = run.operator.stack.output("WebhookUrl"), run.operator.bot.webhook()
    findings = of_webhook(info, expected, datetime.fromtimestamp(run.operator.now(), UTC))
    data = {
        "url": info.url,
        "expected": expected,
        "pending": info.pending,
        "allowed_updates": list(info.allowed_updates),
        "last_error": info.last_error,
        "last_error_at": info.last_error_at and info.last_error_at.isoformat(),
        "right": all(each.state == "good" for each in findings),
    }
    run.output.show(data, *(marked(each.state, each.link, each.what, each.advice) for each in findings))


@app.command()
def delete(context: typer.Context) -> None:
    """Have Telegram send messages nowhere. They wait there for a day; `webhook set` has them delivered."""
    run = session.of(context)
    run.operator.bot.delete_webhook()
    run.output.show({"url": "", "deleted": True}, "Telegram now sends messages nowhere.")

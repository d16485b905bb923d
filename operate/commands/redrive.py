"""`redrive`: turns that ended without an answer, and events that no function could take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operate.commands import session
from operate.errors import MissingError
from operate.output import table
from operate.tables import Ended

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operate.commands.session import Session

_BATCH = 10
"""Messages of one ReceiveMessage (SQS API reference)."""


def redrive(
    context: typer.Context,
    chat: Annotated[str | None, typer.Option(help="Only this chat.")] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Instead, run the failure queue's events through their functions again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what there is.")] = False,
) -> None:
    """Ask again the questions that ended without an answer, as if their people had written /retry.

    They are answered, or parked, like any message; a question that is answered already is left alone. Turns are kept
    for seven days. With --queue: events that a function failed on three times are given to it once more, and taken
    out of the queue once it has accepted them.
    """
    run = session.of(context)
    if queue:
        _queue(run, dry_run=dry_run)
        return
    ended = [each for each in run.operator.chats.unanswered() if chat in (None, each.chat_id)]
    if chat is not None and not ended:
        raise MissingError(f"The chat {chat} has no turn that ended without an answer.")
    again = [] if dry_run else run.operator.redriving(ended)
    data = {"unanswered": [_pair(each) for each in ended], "asked_again": [_pair(each) for each in again]}
    if not ended:
        run.output.show(data, "Every question has its answer.")
        return
    word = "would be asked again" if dry_run else "asked again"
    rows = [(each.chat_id, each.turn, word if dry_run or each in again else "expired") for each in ended]
    run.output.show(data, table("chat", "turn", "", rows=rows))


def _pair(ended: Ended) -> dict[str, object]:
    return {"chat": ended.chat_id, "turn": ended.turn}


def _queue(run: Session, *, dry_run: bool) -> None:
    url = run.operator.stack.output("FailureQueueUrl") if "FailureQueueUrl" in run.operator.stack.outputs else None
    url = url or run.operator.stacks.physical("FailureQueue")
    if url is None:
        raise MissingError("The stack has no failure queue.", "Deploy this version: `make deploy`.")
    sqs, rows, data = run.operator.aws.client("sqs"), [], []
    hidden = 0 if dry_run else 60
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=_BATCH, VisibilityTimeout=hidden).get(
        "Messages", []
    )
    for message in received:
        function, payload, why = _event(json.loads(message["Body"]))
        again = bool(function) and not dry_run
        if again:
            client = run.operator.aws.client("lambda")
            client.invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(payload).encode())
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        name = function.rpartition(":")[2] if function else "unknown: left in the queue"
        rows.append((name, why, "run again" if again else "shown"))
        data.append({"function": function, "error": why, "run_again": again})
    run.output.show({"events": data}, table("function", "error", "", rows=rows) if rows else "The queue is empty.")


def _event(body: Mapping[str, Any]) -> tuple[str, Any, str]:
    """Function, event and error of a record: of Lambda's failure destination. A rule's dead letter names no function.

    Source: Lambda developer guide, "Retaining records of asynchronous invocations".
    """
    context = body.get("requestContext", {})
    arn = str(context.get("functionArn", "")).removesuffix(":$LATEST")
    error = body.get("responsePayload") or {}
    return arn, body.get("requestPayload"), str(error.get("errorType") or context.get("condition") or "")

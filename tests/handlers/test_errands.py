"""/files, /export and /forget as Lambda runs them: the webhook's command, and the function that it is handed to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from assistant.errors import DeliveryUncertain
from assistant.stores.dynamodb import Table
from assistant.stores.workspaces import S3Shelves
from assistant.turns import texts
from assistant.workspace.browsing import NOTHING
from local.simulators.faults import TelegramFault
from tests.doubles import CHAT
from tests.workspaces import BUCKET, back_up

if TYPE_CHECKING:
    import io

    from tests.handlers.conftest import Deployed


class Hands:
    """Where the webhook hands commands to; the functions are run when a test says so."""

    def __init__(self, deployed: Deployed) -> None:
        self.deployed = deployed
        self.invoked: list[dict[str, Any]] = []

    def invoke(self, **request: Any) -> dict[str, Any]:
        self.invoked.append(request)
        return {"StatusCode": 202}

    def run(self) -> None:
        """The newest invocation, as Lambda makes it."""
        request = self.invoked[-1]
        assert request["InvocationType"] == "Event"
        self.deployed.call(request["FunctionName"].replace("-", "_"), json.loads(request["Payload"]))

    def say(self, text: str) -> None:
        self.deployed.post(self.deployed.outside.updates.text(int(CHAT), text))

    def heard(self) -> list[str]:
        return [message.text for message in self.deployed.outside.telegram.sent_to(int(CHAT))]


@pytest.fixture
def hands(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Hands:
    from assistant import wiring  # noqa: PLC0415 (after the environment is clean)

    made = Hands(deployed)
    known: Any = wiring._client

    def client(service: str, *how: Any) -> Any:
        return made if service == "lambda" else known(service, *how)

    client.cache_clear = known.cache_clear  # type: ignore[attr-defined]
    monkeypatch.setattr(wiring, "_client", client)
    deployed.environment.setenv("AGENT_MODE", "auto")
    deployed.allow(int(CHAT))
    where: Any = {"LocationConstraint": "eu-west-1"}
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return made


def _back_up(hands: Hands, files: dict[str, bytes]) -> None:
    table = Table(boto3.client("dynamodb"), "runtime")
    s3: Any = boto3.client("s3")
    back_up(table, s3, CHAT, files, at=hands.deployed.clock.now())


def test_the_webhook_hands_over_ids_and_does_not_wait(hands: Hands, log: io.StringIO) -> None:
    hands.say("/files my/secret/path")

    (request,) = hands.invoked
    assert request["FunctionName"] == "send-document"
    assert json.loads(request["Payload"]).keys() == {"chat_id", "update_id"}
    assert hands.heard() == []
    hands.run()
    assert hands.heard() == [NOTHING]
    assert "secret" not in log.getvalue()
    assert [json.loads(line)["done"] for line in log.getvalue().splitlines() if "carried out" in line] == ["sent"]


def test_files_are_listed_and_sent(hands: Hands) -> None:
    _back_up(hands, {"notes/today.md": b"milk"})

    hands.say("/files")
    hands.run()
    hands.say("/files today.md")
    hands.run()

    assert hands.heard()[0].startswith("1 file, 4 bytes\nLast backup: just now")
    (document,) = hands.deployed.outside.telegram.documents
    assert (document.name, document.data) == ("today.md", b"milk")


def test_a_conversation_is_exported(hands: Hands) -> None:
    hands.say("/export")
    hands.run()

    (document,) = hands.deployed.outside.telegram.documents
    assert json.loads(document.data)["chat_id"] == CHAT


def test_what_may_have_arrived_is_not_sent_twice(hands: Hands) -> None:
    hands.deployed.outside.telegram.order(TelegramFault.DELIVERED_BAD_GATEWAY, method="sendDocument")
    hands.say("/export")

    with pytest.raises(DeliveryUncertain):
        hands.run()
    hands.run()
    hands.run()

    assert hands.heard() == ["Our conversation: 0 questions and answers.", texts.in_doubt("export")]


def test_a_chat_is_forgotten_with_every_version_in_s3(hands: Hands) -> None:
    _back_up(hands, {"one": b"1"})
    _back_up(hands, {"one": b"2"})
    s3: Any = boto3.client("s3")
    shelves = S3Shelves(s3, BUCKET)
    assert len([*shelves.versions(CHAT)]) == 4
    hands.deployed.clock.moment = 4e9  # moto's S3 goes by the real time

    hands.say("/forget")
    hands.say("/forget yes")
    hands.run()

    assert hands.invoked[-1]["FunctionName"] == "forget-chat"
    assert [*shelves.versions(CHAT)] == []
    assert hands.heard()[-1].startswith("Forgotten, for good:\n- 0 questions")
    assert "- the workspace (1 file, 1 byte) with 2 backups" in hands.heard()[-1]


def test_the_functions_refuse_what_is_no_command(hands: Hands) -> None:
    for module in ("send_document", "forget_chat"):
        with pytest.raises(ValueError, match="not what the webhook sends"):
            hands.deployed.call(module, {"text": "something"})

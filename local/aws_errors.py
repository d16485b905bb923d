"""Error answers in the shapes of the AWS services, as WSGI applications."""

import json
import uuid
from http import HTTPStatus

from werkzeug.wrappers import Response

from local.server import WsgiApp


def aws_error(service: str, code: str, message: str, status: int = HTTPStatus.BAD_REQUEST, **more: object) -> WsgiApp:
    """An error that the service's SDK turns into a ClientError.

    Args:
        service: signing name; decides between XML (S3), query XML (STS, IAM, CloudFormation) and JSON.
        code: the error's name; a namespace before `#` is allowed in JSON.
        message: for people.
        status: HTTP status.
        more: further members of a JSON error.
    """
    request_id = str(uuid.uuid4())
    short = code.rpartition("#")[2]
    headers = {"x-amzn-RequestId": request_id, "x-amzn-ErrorType": short}
    if service == "s3":
        xml = f"<Error><Code>{short}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId></Error>"
        return _answer(xml, status, headers, "application/xml")
    if service in {"sts", "iam", "cloudformation"}:
        error = f"<Error><Type>Sender</Type><Code>{short}</Code><Message>{message}</Message></Error>"
        xml = f"<ErrorResponse>{error}<RequestId>{request_id}</RequestId></ErrorResponse>"
        return _answer(xml, status, headers, "text/xml")
    body = json.dumps({"__type": code, "message": message, "Message": message, **more})
    return _answer(body, status, headers, "application/x-amz-json-1.0")


def _answer(body: str, status: int, headers: dict[str, str], content_type: str) -> WsgiApp:
    answer: WsgiApp = Response(body, status, headers, content_type=content_type)
    return answer

"""What an HTTP request to AWS is about: who signed it, for which service and operation."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote

from local.server import Environ

_SCOPE = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_INVOKE = re.compile(r"^/2015-03-31/functions/([^/]+)/invocations/?$")
_SCHEDULER_OPERATIONS = {
    ("POST", 2): "CreateSchedule",
    ("GET", 2): "GetSchedule",
    ("PUT", 2): "UpdateSchedule",
    ("DELETE", 2): "DeleteSchedule",
    ("GET", 1): "ListSchedules",
}
"""By method and depth of the path: `/schedules` or `/schedules/<name>`."""

_S3_OPERATIONS = {
    ("GET", True): "GetObject",
    ("HEAD", True): "HeadObject",
    ("PUT", True): "PutObject",
    ("DELETE", True): "DeleteObject",
    ("POST", True): "PostObject",
    ("GET", False): "ListObjectsV2",
    ("HEAD", False): "HeadBucket",
    ("PUT", False): "CreateBucket",
    ("DELETE", False): "DeleteBucket",
}
_S3_SUBRESOURCES = {
    "uploads": "MultipartUpload",
    "uploadId": "MultipartUpload",
    "tagging": "Tagging",
    "acl": "Acl",
    "versioning": "BucketVersioning",
    "versions": "ObjectVersions",
    "policy": "BucketPolicy",
    "lifecycle": "LifecycleConfiguration",
    "encryption": "BucketEncryption",
    "delete": "Objects",
}


@dataclass(frozen=True)
class AwsRequest:
    """One signed request.

    Attributes:
        access_key: the signer's access key id; empty when the request is not signed.
        service: signing name, for example `dynamodb`, `states`, `s3`.
        operation: API operation, for example `TransactWriteItems`; empty if it can't be told.
        method: HTTP method.
        path: URL path, not decoded.
        query: query parameters, first values.
        body: the raw body.
    """

    access_key: str
    service: str
    operation: str
    method: str
    path: str
    query: dict[str, str]
    body: bytes

    @property
    def name(self) -> str:
        """`service:Operation`, as IAM and people write it."""
        return f"{self.service}:{self.operation}"

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a JSON operation; empty if the body is no JSON object."""
        try:
            parsed = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def invoked_function(self) -> str | None:
        """Name of the function that a Lambda Invoke asks for."""
        match = _INVOKE.match(self.path) if self.service == "lambda" else None
        return function_name(unquote(match[1])) if match else None


def function_name(identifier: str) -> str:
    """The bare name in a function's name, partial or full ARN, with or without qualifier."""
    if identifier.startswith("arn:"):
        identifier = identifier.split(":", 6)[6]
    return identifier.split(":")[0]


def parse(environ: Environ) -> AwsRequest:
    """Read a WSGI request; its body stays readable."""
    match = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    access_key, service = (match[1], match[3]) if match else ("", "")
    source = environ["wsgi.input"]
    body = source.read()
    source.seek(0)
    raw_query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    query = {name: values[0] for name, values in raw_query.items()}
    path = str(environ.get("RAW_URI", environ["PATH_INFO"])).split("?", 1)[0]
    method = environ["REQUEST_METHOD"]
    target: str = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        operation = target.rpartition(".")[2]
    elif service == "s3":
        operation = _s3_operation(method, path, query)
    elif service == "scheduler":
        operation = _SCHEDULER_OPERATIONS.get((method, path.count("/")), "") if path.startswith("/schedules") else ""
    else:
        operation = _operation_in_path(path) or _operation_in_form(environ, body)
    return AwsRequest(access_key, service, operation, method, path, query, body)


def _operation_in_path(path: str) -> str:
    """Lambda's REST path, or that of Smithy's RPC protocols (CloudWatch uses one)."""
    if _INVOKE.match(path):
        return "Invoke"
    return path.rpartition("/operation/")[2] if "/operation/" in path else ""


def _operation_in_form(environ: Environ, body: bytes) -> str:
    """The query protocol's `Action` (STS, IAM)."""
    if not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return ""
    return parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0]


def _s3_operation(method: str, path: str, query: dict[str, str]) -> str:
    has_key = bool(path.lstrip("/").partition("/")[2])
    for name, subresource in _S3_SUBRESOURCES.items():
        if name in query:
            return f"{method.title()}{subresource}"
    return _S3_OPERATIONS.get((method, has_key), "")

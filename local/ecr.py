"""ECR over a container registry on this machine: what `docker push` has put there is what ECR says that it has.

A double, and thin: tags and digests are the registry's own answers. Its own are the list of repositories (a registry
makes one with the first push, and would take one for a repository that ECR does not have) and what ECR does by itself:
tags that never move, scans, expiry.

https://docs.aws.amazon.com/AmazonECR/latest/APIReference/ and https://distribution.github.io/distribution/spec/api/
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any

from werkzeug.wrappers import Response

from local.aws_errors import aws_error
from local.aws_request import AwsRequest
from local.server import WsgiApp
from local.template import ACCOUNT, REGION

USER = "AWS"
MANIFESTS = ", ".join((
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
))  # fmt: skip
"""What an image may be described by."""

_PASSWORD_S = 12 * 3600

type Asked = Mapping[str, Any]


class EcrError(Exception):
    """What ECR refuses with: its name, and a text."""


@dataclass
class Ecr:
    """Answers ECR's API.

    Attributes:
        host: `127.0.0.1:PORT`, where the registry is; Docker takes plain HTTP from loopback.
        password: what the registry takes of the user AWS.
        repositories: ECR's, by name.
    """

    host: str
    password: str = field(repr=False)
    repositories: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def answer(self, request: AwsRequest) -> WsgiApp:
        """Answer one request."""
        operations: Mapping[str, Callable[[Asked], Mapping[str, Any]]] = {
            "CreateRepository": self._create_repository,
            "DeleteRepository": self._delete_repository,
            "DescribeImages": self._describe_images,
            "DescribeRepositories": self._describe_repositories,
            "GetAuthorizationToken": self._get_authorization_token,
            "PutLifecyclePolicy": lambda asked: {"repositoryName": self._known(asked["repositoryName"])},
        }
        operation = operations.get(request.operation)
        if operation is None:
            text = f"the local cloud's ECR knows no {request.operation}"
            return aws_error("ecr", "UnknownOperationException", text)
        try:
            body = json.dumps(operation(request.parameters))
        except EcrError as error:
            return aws_error("ecr", *error.args)
        response: WsgiApp = Response(body, 200, content_type="application/x-amz-json-1.1")
        return response

    def ask(self, method: str, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """Ask the registry; gives status, headers by their names in lower case, and body."""
        connection = HTTPConnection(self.host, timeout=20)
        try:
            connection.request(method, path, headers={"Accept": MANIFESTS, **self.credentials})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, response.read()
        finally:
            connection.close()

    @property
    def credentials(self) -> Mapping[str, str]:
        """The header that the registry wants."""
        return {"Authorization": f"Basic {self._token}"}

    @property
    def _token(self) -> str:
        return base64.b64encode(f"{USER}:{self.password}".encode()).decode()

    def _known(self, name: str) -> str:
        if name not in self.repositories:
            raise EcrError("RepositoryNotFoundException", f"The repository with name '{name}' does not exist")
        return name

    def _create_repository(self, asked: Asked) -> Mapping[str, Any]:
        name = asked["repositoryName"]
        if name in self.repositories:
            raise EcrError("RepositoryAlreadyExistsException", f"The repository with name '{name}' already exists")
        self.repositories[name] = {
            "repositoryName": name,
            "repositoryUri": f"{self.host}/{name}",
            "repositoryArn": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}",
            "registryId": ACCOUNT,
        }
        return {"repository": self.repositories[name]}

    def _describe_repositories(self, asked: Asked) -> Mapping[str, Any]:
        names = asked.get("repositoryNames") or list(self.repositories)
        return {"repositories": [self.repositories[self._known(name)] for name in names]}

    def _get_authorization_token(self, _: Asked) -> Mapping[str, Any]:
        given = {"authorizationToken": self._token, "proxyEndpoint": f"http://{self.host}"}
        return {"authorizationData": [{**given, "expiresAt": time.time() + _PASSWORD_S}]}

    def _describe_images(self, asked: Asked) -> Mapping[str, Any]:
        name = self._known(asked["repositoryName"])
        named = asked.get("imageIds")
        wanted = [each["imageTag"] for each in named] if named else self._tags(name)
        return {"imageDetails": [self._image(name, tag) for tag in wanted]}

    def _image(self, name: str, tag: str) -> Mapping[str, Any]:
        digest = self._digest(name, tag)
        if digest is None:
            text = f"The image with imageId {{imageTag:'{tag}'}} does not exist within the repository '{name}'"
            raise EcrError("ImageNotFoundException", text)
        return {"registryId": ACCOUNT, "repositoryName": name, "imageDigest": digest, "imageTags": [tag]}

    def _delete_repository(self, asked: Asked) -> Mapping[str, Any]:
        name = self._known(asked["repositoryName"])
        tags = self._tags(name)
        if tags and not asked.get("force"):
            text = f"The repository with name '{name}' cannot be deleted because it still contains images"
            raise EcrError("RepositoryNotEmptyException", text)
        for digest in {self._digest(name, tag) for tag in tags}:
            self.ask("DELETE", f"/v2/{name}/manifests/{digest}")
        return {"repository": self.repositories.pop(name)}

    def _tags(self, name: str) -> list[str]:
        status, _, body = self.ask("GET", f"/v2/{name}/tags/list")
        return (json.loads(body)["tags"] or []) if status == HTTPStatus.OK else []

    def _digest(self, name: str, tag: str) -> str | None:
        status, headers, _ = self.ask("HEAD", f"/v2/{name}/manifests/{tag}")
        return headers["docker-content-digest"] if status == HTTPStatus.OK else None

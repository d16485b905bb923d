"""The repository of the agent's image, in ECR."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from operate.aws import code_of

if TYPE_CHECKING:
    from collections.abc import Callable

_EXPIRY = """{"rules": [{"rulePriority": 1, "description": "The two before the last are for going back.", "selection":
 {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3}, "action": {"type": "expire"}}]}"""


@dataclass(frozen=True, slots=True)
class Registry:
    """One repository."""

    client: Callable[[], Any]
    name: str

    def address(self) -> str | None:
        """The repository's address; None if there is none."""
        try:
            (found,) = self.client().describe_repositories(repositoryNames=[self.name])["repositories"]
        except ClientError as error:
            if code_of(error) == "RepositoryNotFoundException":
                return None
            raise
        return str(found["repositoryUri"])

    def create(self) -> str:
        """Make the repository, or find it; gives its address. Tags never move; images are scanned; three are kept."""
        there = self.address()
        if there is not None:
            return there
        created = self.client().create_repository(
            repositoryName=self.name,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
        )
        self.client().put_lifecycle_policy(repositoryName=self.name, lifecyclePolicyText=_EXPIRY)
        return str(created["repository"]["repositoryUri"])

    def digest(self, tag: str) -> str | None:
        """The digest of a tag; None if it is not there."""
        try:
            found = self.client().describe_images(repositoryName=self.name, imageIds=[{"imageTag": tag}])
        except ClientError as error:
            if code_of(error) in {"ImageNotFoundException", "RepositoryNotFoundException"}:
                return None
            raise
        return str(found["imageDetails"][0]["imageDigest"])

    def password(self) -> str:
        """What `docker login` takes for twelve hours; the user is AWS."""
        (given,) = self.client().get_authorization_token()["authorizationData"]
        return base64.b64decode(given["authorizationToken"]).decode().partition(":")[2]

    def delete(self) -> bool:
        """Delete the repository with its images; False if there is none."""
        try:
            self.client().delete_repository(repositoryName=self.name, force=True)
        except ClientError as error:
            if code_of(error) == "RepositoryNotFoundException":
                return False
            raise
        return True

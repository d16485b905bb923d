"""S3's buckets, with everything the template says of them."""

from collections.abc import Callable, Mapping
from typing import Any

type Client = Any
"""boto3's S3 client."""


def create(s3: Client, name: str, region: str, properties: Mapping[str, Any]) -> None:
    """Create a bucket.

    Raises:
        ValueError: a property is not known here.
    """
    _only_known(properties)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    configure(s3, name, properties)


def configure(s3: Client, name: str, properties: Mapping[str, Any]) -> None:
    """Set what the template says of a bucket that is there. ValueError: a property is not known here."""
    _only_known(properties)
    for key in _SETTINGS.keys() & properties.keys():
        _SETTINGS[key](s3, name, properties[key])


def _only_known(properties: Mapping[str, Any]) -> None:
    unknown = properties.keys() - _SETTINGS.keys() - {"BucketName", "Tags"}
    if unknown:
        raise ValueError(f"the local cloud does not know the properties {', '.join(sorted(unknown))}")


def _versioning(s3: Client, name: str, value: Any) -> object:  # noqa: ANN401 (as the template has it)
    return s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=value)


def _encryption(s3: Client, name: str, value: Any) -> object:  # noqa: ANN401
    rules = [
        {"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}
        for rule in value["ServerSideEncryptionConfiguration"]
    ]
    return s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})


def _public_access(s3: Client, name: str, value: Any) -> object:  # noqa: ANN401
    return s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=value)


def _ownership(s3: Client, name: str, value: Any) -> object:  # noqa: ANN401
    return s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=value)


def _lifecycle(s3: Client, name: str, value: Any) -> object:  # noqa: ANN401
    rules = [{("ID" if key == "Id" else key): part for key, part in rule.items()} for rule in value["Rules"]]
    whole = [{"Filter": {"Prefix": ""}, **rule} for rule in rules]
    return s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": whole})


_SETTINGS: dict[str, Callable[[Client, str, Any], object]] = {
    "VersioningConfiguration": _versioning,
    "BucketEncryption": _encryption,
    "PublicAccessBlockConfiguration": _public_access,
    "OwnershipControls": _ownership,
    "LifecycleConfiguration": _lifecycle,
}

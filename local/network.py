"""EC2's networks: kept in moto as the template says. No packet goes through them; tasks are placed in them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

type Client = Any
"""boto3's EC2 client."""


@dataclass(frozen=True)
class _Kind:
    """How a type is created.

    Attributes:
        operation: of boto3's client.
        taken: properties that the operation takes under the same name.
        removal: the operation that takes it away, and what that takes: properties, or the id under its name.
        answer: where its answer has the new id; nothing where it has none.
        further: properties that are set afterwards, one by one.
    """

    operation: str
    taken: frozenset[str]
    removal: tuple[str, tuple[str, ...]]
    answer: tuple[str, ...] = ()
    further: Mapping[str, Callable[[Client, str, Any], object]] | None = None


def _vpc_attribute(name: str) -> Callable[[Client, str, Any], object]:
    def change(ec2: Client, vpc: str, value: Any) -> object:  # noqa: ANN401 (as the template has it)
        return ec2.modify_vpc_attribute(VpcId=vpc, **{name: {"Value": value}})

    return change


def _public_addresses(ec2: Client, subnet: str, value: Any) -> object:  # noqa: ANN401
    return ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": value})


_KINDS = {
    "AWS::EC2::VPC": _Kind(
        "create_vpc",
        frozenset({"CidrBlock"}),
        ("delete_vpc", ("VpcId",)),
        ("Vpc", "VpcId"),
        {name: _vpc_attribute(name) for name in ("EnableDnsSupport", "EnableDnsHostnames")},
    ),
    "AWS::EC2::Subnet": _Kind(
        "create_subnet",
        frozenset({"VpcId", "CidrBlock", "AvailabilityZone"}),
        ("delete_subnet", ("SubnetId",)),
        ("Subnet", "SubnetId"),
        {"MapPublicIpOnLaunch": _public_addresses},
    ),
    "AWS::EC2::InternetGateway": _Kind(
        "create_internet_gateway",
        frozenset(),
        ("delete_internet_gateway", ("InternetGatewayId",)),
        ("InternetGateway", "InternetGatewayId"),
    ),
    "AWS::EC2::VPCGatewayAttachment": _Kind(
        "attach_internet_gateway",
        frozenset({"VpcId", "InternetGatewayId"}),
        ("detach_internet_gateway", ("VpcId", "InternetGatewayId")),
    ),
    "AWS::EC2::RouteTable": _Kind(
        "create_route_table",
        frozenset({"VpcId"}),
        ("delete_route_table", ("RouteTableId",)),
        ("RouteTable", "RouteTableId"),
    ),
    "AWS::EC2::Route": _Kind(
        "create_route",
        frozenset({"RouteTableId", "DestinationCidrBlock", "GatewayId"}),
        ("delete_route", ("RouteTableId", "DestinationCidrBlock")),
    ),
    "AWS::EC2::SubnetRouteTableAssociation": _Kind(
        "associate_route_table",
        frozenset({"SubnetId", "RouteTableId"}),
        ("disassociate_route_table", ("AssociationId",)),
        ("AssociationId",),
    ),
    "AWS::EC2::VPCEndpoint": _Kind(
        "create_vpc_endpoint",
        frozenset({"VpcEndpointType", "VpcId", "ServiceName", "RouteTableIds"}),
        ("delete_vpc_endpoints", ("VpcEndpointIds",)),
        ("VpcEndpoint", "VpcEndpointId"),
    ),
}
TYPES = (*_KINDS, "AWS::EC2::SecurityGroup")
"""Every type that `create` knows."""


def create(ec2: Client, kind: str, name: str, properties: Mapping[str, Any]) -> str:
    """Create a part of a network; gives its id, or `name` for what has none.

    Raises:
        ValueError: a property is not known here.
    """
    if kind == "AWS::EC2::SecurityGroup":
        return _security_group(ec2, name, properties)
    known = _KINDS[kind]
    further = known.further or {}
    _only_known(properties, known.taken | further.keys())
    given = {key: value for key, value in properties.items() if key in known.taken}
    answer = getattr(ec2, known.operation)(**given)
    for part in known.answer:
        answer = answer[part]
    identifier = str(answer) if known.answer else name
    for key in further.keys() & properties.keys():
        further[key](ec2, identifier, properties[key])
    return identifier


def remove(ec2: Client, kind: str, identifier: str, properties: Mapping[str, Any]) -> None:
    """Take away a part of a network."""
    if kind == "AWS::EC2::SecurityGroup":
        ec2.delete_security_group(GroupId=identifier)
        return
    operation, names = _KINDS[kind].removal
    given = {name: properties.get(name, [identifier] if name.endswith("Ids") else identifier) for name in names}
    getattr(ec2, operation)(**given)


def _security_group(ec2: Client, name: str, properties: Mapping[str, Any]) -> str:
    """With rules for what goes out, the one that lets everything out is not made (CloudFormation, SecurityGroup)."""
    _only_known(properties, {"GroupDescription", "VpcId", "SecurityGroupEgress"})
    group: str = ec2.create_security_group(
        GroupName=name, Description=properties["GroupDescription"], VpcId=properties["VpcId"]
    )["GroupId"]
    if rules := properties.get("SecurityGroupEgress"):
        (made,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        ec2.revoke_security_group_egress(GroupId=group, IpPermissions=made["IpPermissionsEgress"])
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[_permission(rule) for rule in rules])
    return group


def _permission(rule: Mapping[str, Any]) -> dict[str, Any]:
    _only_known(rule, {"IpProtocol", "FromPort", "ToPort", "CidrIp", "Description"})
    return {
        "IpProtocol": rule["IpProtocol"],
        "FromPort": rule["FromPort"],
        "ToPort": rule["ToPort"],
        "IpRanges": [{"CidrIp": rule["CidrIp"], "Description": rule.get("Description", "")}],
    }


def _only_known(properties: Mapping[str, Any], known: set[str] | frozenset[str]) -> None:
    unknown = properties.keys() - known
    if unknown:
        raise ValueError(f"the local cloud does not know the properties {', '.join(sorted(unknown))}")

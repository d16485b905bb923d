"""`sam local` against the local cloud: the built template, with the running cloud's addresses as environment.

`sam local` passes on only variables that the template names, so that a template of its own is written beside the
built one. Parameters have their values in it: no command needs any.
"""

import socket
import subprocess
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from local.template import Template

if TYPE_CHECKING:
    from local.cloud import LocalCloud

NAME = "local.yaml"
FUNCTION = "AWS::Serverless::Function"


HOST = "host.docker.internal"
"""What a container calls this machine; `IN_DOCKER` makes it so also where Docker does not."""

IN_DOCKER = ("--add-host", f"{HOST}:host-gateway")


def gateway() -> str:
    """This machine's address in Docker's own network, if it has one here: Docker Desktop forwards to loopback."""
    asked = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}"]
    try:
        subnet = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
        address = str(ip_network(subnet)[1])  # the engine takes the first one for itself
        with socket.socket() as probe:
            probe.bind((address, 0))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return address


def write(cloud: "LocalCloud", build_dir: Path) -> Path:
    """Write the template for `sam local invoke -t …` beside the built one; gives its path."""
    built = Template(build_dir / "template.yaml", cloud.parameters).source
    for name, value in cloud.parameters.items():
        built["Parameters"][name]["Default"] = value
    for logical_id in functions(build_dir):
        properties = built["Resources"][logical_id]["Properties"]
        properties["Environment"] = {"Variables": cloud.variables_outside(logical_id, HOST)}
    path = build_dir / NAME
    path.write_text(yaml.safe_dump(built, sort_keys=False), encoding="utf-8")
    return path


def functions(build_dir: Path) -> list[str]:
    """The functions of the built template, by logical id."""
    resources: dict[str, Any] = Template(build_dir / "template.yaml").source["Resources"]
    return [name for name, resource in resources.items() if resource["Type"] == FUNCTION]

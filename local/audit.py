"""Known weaknesses of what is pinned: `python -m local.audit PIP-AUDIT LIST…` runs pip-audit over requirements' lists.

Where its database can't be reached nothing can be said, and that is no fault of the project: a line says so, and the
exit code is 0. A weakness, a package that the database does not know, and whatever else goes wrong are failures.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

type Verdict = Literal["clean", "weak", "unreachable", "failed"]

NOT_REACHED = "The database of known weaknesses can't be reached from here. Not checked:"

# As pip-audit lets requests' errors through, or names them itself.
_NO_WAY = re.compile(
    r"requests\.exceptions\.(ConnectionError|ConnectTimeout|ProxyError|ReadTimeout)"
    r"|Could not connect to .* vulnerability feed|is not redirecting properly"
)


@dataclass(frozen=True)
class Judged:
    """What came of one list, and what is to be said about it."""

    verdict: Verdict
    lines: tuple[str, ...] = ()


def judged(code: int, out: str, err: str) -> Judged:
    """Read what pip-audit, asked for JSON, wrote and ended with.

    A mirror without the database answers "not found" for every package, as no network answers nothing.
    """
    found = _dependencies(out)
    if found is None:
        no_way = _NO_WAY.search(err)
        return Judged("unreachable") if no_way else Judged("failed", tuple(err.strip().splitlines()[-3:]))
    weak = [each for each in found if each.get("vulns")]
    skipped = [each for each in found if "skip_reason" in each]
    if weak:
        return Judged("weak", tuple(line for each in weak for line in _weaknesses(each)))
    if skipped and len(skipped) == len(found):
        return Judged("unreachable")
    if skipped or code:
        return Judged("failed", tuple(f"{each['name']}: {each['skip_reason']}" for each in skipped))
    return Judged("clean")


def main(arguments: Sequence[str]) -> int:
    """Audit each list, while the database can be reached; 1 if something is known, or went wrong."""
    program, *lists = arguments
    failed = False
    for name in lists:
        command = [program, "--format", "json", "--disable-pip", "--no-deps", "--requirement", name]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        found = judged(ran.returncode, ran.stdout, ran.stderr)
        if found.verdict == "unreachable":
            print(f"{NOT_REACHED} {name} and what comes after it.")
            break
        print("\n  ".join([f"{name}: {found.verdict}", *found.lines]), flush=True)
        failed |= found.verdict != "clean"
    return int(failed)


def _dependencies(out: str) -> list[dict[str, Any]] | None:
    try:
        found: list[dict[str, Any]] = json.loads(out)["dependencies"]
    except (ValueError, LookupError, TypeError):
        return None
    return found


def _weaknesses(package: dict[str, Any]) -> list[str]:
    return [
        f"{package['name']} {package['version']}: {each['id']}, mended in {', '.join(each['fix_versions']) or 'none'}"
        for each in package["vulns"]
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What the project builds on may be used by anybody for anything: every licence is on a list."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ("requirements-dev.txt", "layers/core/src/requirements.txt", "container/requirements.txt")
ALLOWED = {
    "MIT": ("MIT", "MIT License", "MIT-0", "MIT License; MIT No Attribution License (MIT-0)", "MIT OR AFL-2.1"),
    "BSD": ("BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "BSD License; Apache Software License"),
    "Apache": (
        "Apache-2.0",
        "Apache 2.0",
        "Apache Software License",
        "Apache License 2.0",
        "Apache-2.0 OR BSD-2-Clause",
        "Apache-2.0 OR BSD-3-Clause",
        "Apache-2.0 AND CNRI-Python",
    ),
    "ISC": ("ISC", "ISC License (ISCL)"),
    "PSF": ("PSF-2.0", "Python Software Foundation License"),
    # Of the files themselves only: using them asks for nothing.
    "MPL": ("MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)"),
}
_NAMES = {name for names in ALLOWED.values() for name in names}
EXCEPTIONS = {
    "cookiecutter": "BSD-3-Clause in its repository; its metadata names none. Of aws-sam-cli, not shipped.",
    "python-telegram-bot": "LGPL: types of updates in tests, not shipped.",
    "text-unidecode": "Artistic or GPL, at choice. Of aws-sam-cli, not shipped.",
}
"""What is not on the list, and why it does no harm."""

SHIPPED = ("layers/core/src/requirements.txt", "container/requirements.txt")


def _names(file: str) -> list[str]:
    lines = (ROOT / file).read_text("utf-8").splitlines()
    return [re.split(r"[=<>\[; ]", line)[0] for line in lines if line and not line.startswith(("#", "-", " "))]


def licence(of: Distribution) -> str:
    """As its metadata says it: the SPDX expression, else the classifiers, else the first line of the text."""
    metadata = of.metadata
    expression = metadata.get("License-Expression")
    classifiers = [each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier") or [] if "License ::" in each]
    text = (metadata.get("License") or "").strip().splitlines()
    named = [each for each in classifiers if each != "OSI Approved"]
    return expression or "; ".join(named) or (text[0] if text else "")


@pytest.mark.parametrize("file", REQUIREMENTS)
def test_every_licence_is_on_the_list(file: str) -> None:
    strange = {}
    for name in _names(file):
        try:
            found = licence(distribution(name))
        except PackageNotFoundError:  # of another platform, or of the container alone
            continue
        if found not in _NAMES and name not in EXCEPTIONS:
            strange[name] = found

    assert strange == {}


def test_what_is_shipped_needs_no_exception() -> None:
    assert [name for file in SHIPPED for name in _names(file) if name in EXCEPTIONS] == []

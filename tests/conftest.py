"""Fixtures that every layer of tests may use."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Nothing in a test may find real credentials, a real region or a real endpoint.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    if name != "AWS_CA_BUNDLE":
        del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "POWERTOOLS_METRICS_DISABLED": "true",
}

# The first draw of text in a new clone builds hypothesis's tables of Unicode: seconds, and no fault of a test.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

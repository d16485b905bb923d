"""template.yaml ↔ assistant.settings: environments and parameters."""

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from types import ModuleType
from typing import Any

import pytest
from moto import mock_aws

from assistant import settings, wiring
from assistant.errors import SettingMissing
from local import bench
from tests.contract import template

ASKS = (settings.AskSettings, settings.ChainSettings)
SETTINGS_OF: dict[str, tuple[type, ...]] = {
    "Webhook": (
        settings.WebhookSettings,
        settings.ChainSettings,
        settings.LaneSettings,
        settings.ReminderSettings,
        settings.HandingOverSettings,
        settings.WakingSettings,
    ),
    "PrepareTurn": (
        settings.PreparationSettings,
        settings.ChainSettings,
        settings.LaneSettings,
        settings.WakingSettings,
    ),
    "AskCopilot": ASKS,
    "AskOpenRouter": ASKS,
    "AskOllamaCloud": ASKS,
    "AskClaude": ASKS,
    "DeliverReply": (settings.DeliverySettings,),
    "ReportFailure": (settings.PreparationSettings, settings.ChainSettings),
    "TurnStopped": (settings.RecoverySettings,),
    "Sweep": (settings.RecoverySettings, settings.TendingSettings),
    "FireReminder": (settings.FiringSettings,),
    "SendDocument": (settings.DocumentSettings,),
    "ForgetChat": (settings.ForgettingSettings,),
    "StartAgent": (settings.StartAgentSettings, settings.TendingSettings),
    "AgentStopped": (settings.TendingSettings,),
    "ShutDownIdle": (settings.ShutDownSettings,),
    "BackUp": (settings.BackUpSettings,),
    "WarmUp": (settings.WarmUpSettings,),
    "CollectSnapshots": (settings.CollectionSettings,),
    "CorrectLedger": (settings.CorrectionSettings, settings.ChainSettings),
    "TellOwner": (settings.NotificationSettings,),
}
"""What the builders of `wiring` read for each function."""

SECRET_NAME = re.compile("token|secret|key|password", re.IGNORECASE)
PARAMETERS: template.Json = template.written()["Parameters"]
POWERTOOLS = "POWERTOOLS_"


def _variables(kinds: tuple[type, ...], *, required: bool) -> set[str]:
    return {field.name.upper() for kind in kinds for field in fields(kind) if not required or field.default is MISSING}


def test_every_function_has_its_settings_and_every_settings_class_a_function() -> None:
    assert SETTINGS_OF.keys() == template.functions().keys()
    assert {kind for kinds in SETTINGS_OF.values() for kind in kinds} == set(settings.SETTINGS)


@pytest.mark.parametrize("name", SETTINGS_OF)
def test_a_functions_environment_sets_what_its_settings_need(name: str) -> None:
    assert _variables(SETTINGS_OF[name], required=True) - template.environment(name).keys() == set()


@pytest.mark.parametrize("name", SETTINGS_OF)
def test_a_functions_environment_holds_nothing_that_its_settings_do_not_read(name: str) -> None:
    own = {variable for variable in template.environment(name) if not variable.startswith(POWERTOOLS)}

    assert own - _variables(SETTINGS_OF[name], required=False) == set()


@pytest.mark.parametrize("name", SETTINGS_OF)
def test_a_missing_variable_is_an_error_that_names_it(name: str) -> None:
    for kind in SETTINGS_OF[name]:
        for variable in _variables((kind,), required=True):
            rest = {other: value for other, value in template.environment(name).items() if other != variable}
            with pytest.raises(SettingMissing, match=rf"\b{variable}\b"):
                settings.from_environment(kind, rest)


@pytest.fixture
def fresh_clients() -> Iterator[None]:
    """Clients made here are used by no other test, and the reverse."""
    wiring._client.cache_clear()
    wiring._http.cache_clear()
    with mock_aws():
        yield
    wiring._client.cache_clear()
    wiring._http.cache_clear()


@pytest.mark.usefixtures("fresh_clients")
@pytest.mark.parametrize("name", SETTINGS_OF)
def test_a_handler_comes_up_with_the_templates_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ.keys() - {"PATH", "HOME", "LANG"}:
        if not variable.startswith(("AWS_", "PYTEST_", "PYTHON")):
            monkeypatch.delenv(variable)
    for variable, value in template.environment(name).items():
        monkeypatch.setenv(variable, value)
    read: set[type] = set()
    monkeypatch.setattr(settings, "from_environment", _recording(settings.from_environment, read))

    handler = _module(name).handler

    assert callable(handler)
    assert read == set(SETTINGS_OF[name])


def _recording(read: Callable[[type], Any], kinds: set[type]) -> Callable[[type], Any]:
    def from_environment(kind: type) -> Any:
        kinds.add(kind)
        return read(kind)

    return from_environment


def _module(name: str) -> ModuleType:
    """A function's module, imported anew as Lambda's runtime does."""
    file = template.FUNCTIONS / f"{template.module_of(name)}.py"
    spec = importlib.util.spec_from_file_location(f"contract_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_all_functions_share_is_only_powertools_own() -> None:
    shared = template.written()["Globals"]["Function"]["Environment"]["Variables"]

    assert [name for name in shared if not name.startswith(POWERTOOLS)] == []


def test_every_parameter_is_used() -> None:
    used = set(template.references({part: template.written()[part] for part in ("Globals", "Resources", "Outputs")}))

    assert PARAMETERS.keys() - used == set()


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_described_and_bounded(name: str) -> None:
    parameter = PARAMETERS[name]

    assert len(parameter["Description"].split()) > 3, "not described"
    ranged = {"MinValue", "MaxValue"} <= parameter.keys()
    assert ranged or parameter.keys() & {"AllowedPattern", "AllowedValues"}, "no pattern, no values, no range"
    assert parameter["Type"] in ("String", "Number")


@pytest.mark.parametrize("name", [name for name in PARAMETERS if "Default" in PARAMETERS[name]])
def test_a_parameters_default_is_within_its_bounds(name: str) -> None:
    parameter = PARAMETERS[name]
    default = parameter["Default"]

    assert re.search(parameter.get("AllowedPattern", ""), str(default))
    assert default in parameter.get("AllowedValues", [default])
    if parameter["Type"] == "Number":
        assert parameter.get("MinValue", default) <= default <= parameter.get("MaxValue", default)


def test_no_parameter_carries_a_secret() -> None:
    assert [name for name in PARAMETERS if SECRET_NAME.search(name) and not name.endswith("Path")] == []
    assert [name for name, parameter in PARAMETERS.items() if "NoEcho" in parameter] == []


@pytest.mark.parametrize("name", SETTINGS_OF)
def test_no_environment_variable_carries_a_secret(name: str) -> None:
    variables = template.environment(name)

    assert [variable for variable in variables if SECRET_NAME.search(variable) and not variable.endswith("_PATH")] == []


def test_no_output_names_a_secret() -> None:
    assert [name for name in template.written()["Outputs"] if SECRET_NAME.search(name)] == []


def test_every_handler_comes_up_in_the_benchmarks_environment() -> None:
    environments = bench.environments()

    assert environments.keys() == SETTINGS_OF.keys()
    for name, kinds in SETTINGS_OF.items():
        for kind in kinds:
            settings.from_environment(kind, environments[name][1])

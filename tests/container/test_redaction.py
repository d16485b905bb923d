"""What counts as a secret in a user's configuration, and what does not."""

from __future__ import annotations

import pytest

from agent.redaction import is_secret_name, redacted, without_secret_shapes

SECRET_NAMES = [
    *("apiKey", "api_key", "APIKey", "x-api-key", "OPENAI_API_KEY", "botToken", "token", "webhookSecret", "password"),
    *("Authorization", "Proxy-Authorization", "cookie", "clientSecret", "privateKey", "AWS_SECRET_ACCESS_KEY"),
    *("passphrase", "bearer", "credentials", "serviceAccount", "encryptKey", "refreshToken", "GITHUB_PAT"),
]
OTHER_NAMES = [
    *(
        "key",
        "keyPath",
        "tokenFile",
        "passwordFile",
        "apiKeyEnv",
        "tokenMode",
        "maxTokensField",
        "author",
        "sessionKey",
    ),
    *("mainKey", "monkey", "tokenizer", "keyboard", "auth", "mode", "secretFile", "pattern", "path", ""),
]
SHAPES = [
    "sk-ant-api03-AAAAAAAAAAAAAAAAAAAA",
    "sk-or-v1-0123456789abcdef0123456789abcdef",
    "ghp_0123456789abcdefghijABCDEFGHIJ",
    "github_pat_0123456789abcdefghijABCDEFGHIJ",
    "xoxb-123456789012-abcdef",
    "AKIAABCDEFGHIJKLMNOP",
    "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijkl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    "https://user:hunter2@example.org/path",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secrets_name_is_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names_are_left_alone(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize("value", SHAPES)
def test_what_looks_like_a_key_is_one_whatever_its_name(value: str) -> None:
    result = redacted({"a": {"innocent": [1, f"run with {value}"]}})

    assert result.config == {"a": {"innocent": [1]}}
    assert result.paths == ("a.innocent[1]",)
    assert value not in without_secret_shapes(f"line {value}")


@pytest.mark.parametrize("value", ["${OPENAI_API_KEY}", "Bearer ${TOKEN}", "", None, True])
def test_a_reference_and_nothing_at_all_stay(value: object) -> None:
    config = {"providers": {"mine": {"apiKey": value}}}

    assert redacted(config).config == config


@pytest.mark.parametrize("value", ["${OPENAI_API_KEY:-sk}", "x${TOKEN}", "Bearer abc", "hunter2", 1234])
def test_what_only_resembles_a_reference_goes(value: object) -> None:
    assert redacted({"password": value}).config == {}


def test_openclaws_own_references_stay() -> None:
    reference = {"source": "file", "provider": "mounted", "id": "/providers/openai/apiKey"}
    config = {"secrets": {"providers": {"mounted": {"source": "file", "path": "x"}}}, "apiKey": reference}

    assert redacted(config).config == config


def test_everything_below_a_secrets_name_is_secret() -> None:
    config = {"credentials": {"github": "a", "more": [{"deep": "b"}, 7]}, "tokens": ["c", "${D}"]}

    result = redacted(config)

    assert result.config == {"credentials": {"more": [{}]}, "tokens": ["${D}"]}
    assert result.paths == ("credentials.github", "credentials.more[0].deep", "credentials.more[1]", "tokens[0]")


def test_numbers_of_tokens_stay() -> None:
    config = {"maxTokens": 4096, "contextTokens": 1, "keepRecentTokens": 2.5}

    assert redacted(config).config == config


def test_the_argument_is_not_touched() -> None:
    config = {"a": {"token": "x", "list": [{"token": "y"}]}}

    redacted(config)

    assert config == {"a": {"token": "x", "list": [{"token": "y"}]}}

"""No secret that reaches a log stays in it, and what identifies an instance does."""

import pytest

from dicomhaul.observe.redact import HIDDEN, redact, redact_values

SECRETS = [
    "Authorization: Bearer s3cr3tvalue",
    "authorization=Basic czNjcjN0OnZhbHVl s3cr3tvalue",
    "{'Authorization': 'Bearer s3cr3tvalue', 'Accept': 'x'}",
    "Headers('Authorization', 'Digest user=\"x\", nonce=\"s3cr3tvalue\"')",
    "Proxy-Authorization: Negotiate s3cr3tvalue==",
    "sent Bearer s3cr3tvalue to the host",
    "Basic s3cr3tvalue",
    "token=s3cr3tvalue;",
    "access_token: s3cr3tvalue",
    'refresh_token="s3cr3tvalue"',
    "https://user:s3cr3tvalue@host/dicom-web",
    "http://s3cr3tvalue@host/",
    "GET /studies?PatientName=s3cr3tvalue&limit=10 HTTP/1.1",
    "https://host/rs/studies?00100020=s3cr3tvalue",
    "https://blob/x?sv=2020&sig=s3cr3tvalue",
    "ya29.s3cr3tvalue",
    "got eyJhbGciOiJ.s3cr3tvalue.sgn",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_hidden(text: str) -> None:
    assert "s3cr3tvalue" not in redact(text)
    assert HIDDEN in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "series 1.3.6.1.4.1.14519.5.2.1.7009.9004.1, 3 instances missing",
        "https://host:8042/dicom-web/studies/1.2.3/series/1.2.4",
        "why? because",
        "the server answers 401 (Unauthorized): it wants credentials, or does not accept ours",
        "2,816 of 2,816 instances; 246 MB",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_values_are_redacted_inside() -> None:
    value = {"a": ["Bearer s3cr3tvalue", 3, None], "b": {"c": ("http://u:p@h",)}}
    assert redact_values(value) == {"a": [f"Bearer {HIDDEN}", 3, None], "b": {"c": [f"http://{HIDDEN}@h"]}}

"""What each error of the REST API asks for, in each of the forms in which it may come."""

from __future__ import annotations

import json

import pytest

from lmdp.snowflake.streaming.answers import DECISIONS, Decision, object_of, refusal, text_of


@pytest.mark.parametrize(
    ("status", "code", "decision"),
    [
        (400, "STALE_CONTINUATION_TOKEN_SEQUENCER", Decision.REOPEN),
        (409, "ERR_CHANNEL_HAS_UNCOMMITTED_DATA", Decision.WAIT),
        (409, "ERR_OPEN_CHANNEL_IN_PROGRESS", Decision.WAIT),
        (409, "ERR_CHANNEL_MUST_BE_REOPENED", Decision.REOPEN),
        (409, "ERR_CHANNEL_MUST_BE_REOPENED_DUE_TO_ROW_SEQ_GAP", Decision.REOPEN),
        (409, "ERR_OF_NEXT_YEAR", Decision.REOPEN),
        (404, "ERR_CHANNEL_DOES_NOT_EXIST_OR_IS_NOT_AUTHORIZED", Decision.REOPEN),
        (404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED", Decision.STOP),
        (404, "", Decision.STOP),
        (410, "ERR_PIPE_FAILED_OVER", Decision.RENEW),
        (401, "JWT_TOKEN_INVALID", Decision.RENEW),
        (403, "", Decision.RENEW),
        (408, "", Decision.RETRY),
        (429, "ERR_TOO_MANY_REQUESTS", Decision.RETRY),
        (500, "ERR_GENERAL_EXCEPTION_RETRY_REQUEST", Decision.RETRY),
        (503, "", Decision.RETRY),
        (599, "", Decision.RETRY),
        (400, "ERR_MALFORMED_REQUEST", Decision.STOP),
        (413, "ERR_PAYLOAD_TOO_LARGE", Decision.STOP),
        (302, "", Decision.STOP),
    ],
)
def test_an_error_is_decided_by_its_code_and_status(status: int, code: str, decision: Decision) -> None:
    """The decision is the same for JSON, a bare JSON string, and plain text."""
    bodies = [json.dumps({"code": code, "message": "m"}), json.dumps(code), code]
    assert [refusal(status, body.encode()).decision() for body in bodies] == [decision] * 3


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b'{"code": "ERR_A", "message": "row {\\"secret\\": 1}"}', "ERR_A", ""),
        (b'{"message": "row {\\"secret\\": 1}"}', "", ""),
        (b'"ERR_A: try again"', "ERR_A", "ERR_A: try again"),
        (b"upstream connect error", "", "upstream connect error"),
        (b"[1, 2", "", ""),
        (b"\xff", "", "\N{REPLACEMENT CHARACTER}"),
        (b"", "", ""),
        (b"x" * 500, "", "x" * 200),
    ],
)
def test_a_refusal_never_repeats_a_row(body: bytes, code: str, text: str) -> None:
    """Only the code of a JSON answer is kept; its message may quote what was sent."""
    found = refusal(400, body)
    assert (found.code, found.text) == (code, text)


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"host.example.com", "host.example.com"), (b'"host"', "host"), (b'{"hostname": "host"}', "host"), (b"{}", ""),
     (b" a\n", "a")],
)  # fmt: skip
def test_an_answer_of_one_text_comes_in_three_forms(body: bytes, text: str) -> None:
    """Plain text as the service sends it, JSON as the documents say."""
    assert text_of(body, "hostname") == text


@pytest.mark.parametrize("body", [b"", b"OK", b"[]", b'"OK"', b'{"a":'])
def test_an_answer_that_is_no_object_is_an_error(body: bytes) -> None:
    """A proxy's page is no success."""
    with pytest.raises((TypeError, ValueError)):
        object_of(body)


def test_every_line_of_the_table_can_be_reached() -> None:
    """No line is hidden by one before it."""
    for status, code, decision in DECISIONS:
        assert refusal(status or 409, code.encode()).decision() is decision

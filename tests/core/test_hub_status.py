from __future__ import annotations

import pytest

from ggufctl.core.hub_status import Asked, explain_status
from ggufctl.errors import AccessDenied, ModelNotFound, RemoteError

NOBODY = Asked("org/name", "v1", "https://hub.example")
SOMEBODY = Asked("org/name", "v1", "https://hub.example", has_token=True)

CASES = [
    (NOBODY, 401, {"x-error-code": "GatedRepo"}, AccessDenied, "is gated."),
    (SOMEBODY, 403, {"x-error-code": "GatedRepo"}, AccessDenied, "was not let in"),
    (NOBODY, 401, {"x-error-code": "RepoNotFound"}, ModelNotFound, "no repository"),
    (SOMEBODY, 404, {"x-error-code": "RepoNotFound"}, ModelNotFound, "no repository"),
    (SOMEBODY, 404, {"x-error-code": "RevisionNotFound"}, ModelNotFound, "no revision 'v1'"),
    (SOMEBODY, 404, {"x-error-code": "EntryNotFound"}, ModelNotFound, "no such file"),
    (
        SOMEBODY,
        403,
        {"x-error-message": "Access to this resource is disabled."},
        AccessDenied,
        "disabled",
    ),
    (
        SOMEBODY,
        401,
        {"x-error-message": 'User Access Token "ci" is expired'},
        AccessDenied,
        "expired",
    ),
    (
        SOMEBODY,
        401,
        {"x-error-message": "Invalid credentials in Authorization header"},
        AccessDenied,
        "refuses the token",
    ),
    (SOMEBODY, 401, {}, AccessDenied, "refuses the token"),
    (NOBODY, 401, {}, AccessDenied, "asks who"),
    (NOBODY, 403, {}, AccessDenied, "refuses access"),
    (NOBODY, 429, {}, RemoteError, "too many requests"),
    (NOBODY, 502, {}, RemoteError, "status 502"),
]


@pytest.mark.parametrize(("asked", "status", "headers", "kind", "words"), CASES)
def test_every_refusal_has_its_sentence(asked, status, headers, kind, words):
    error = explain_status(status, headers, asked)

    assert type(error) is kind
    assert words in error.message


def test_who_may_not_see_a_gated_model_is_told_where_to_ask():
    for asked in (NOBODY, SOMEBODY):
        error = explain_status(403, {"x-error-code": "GatedRepo"}, asked)

        assert "https://hub.example/org/name" in error.hint

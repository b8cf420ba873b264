"""The discover step: both well-known forms, the exact issuer, and what everything hangs on."""

from dataclasses import replace
from typing import Any

import pytest

from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.steps.discover import Discover, oauth_url, oidc_url
from otelprobe.steps.token import Token
from tests.conftest import Answer
from tests.steps.flows import Bench, as_json, last, token_answer

OIDC = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"
HTML = [("Content-Type", "text/html")]


def document(bench: Bench, **members: Any) -> dict[str, Any]:
    """Give a whole discovery document; a member of None is left out."""
    url = bench.server.url
    whole: dict[str, Any] = {
        "issuer": url,
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/t",
        "jwks_uri": f"{url}/k",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        **members,
    }
    return {k: v for k, v in whole.items() if v is not None}


def test_the_two_forms_of_the_well_known_address() -> None:
    """OpenID Connect appends; RFC 8414 inserts between host and path."""
    assert oidc_url("https://a.example/realms/x/") == "https://a.example/realms/x/.well-known/openid-configuration"
    assert (
        oauth_url("https://a.example/realms/x") == "https://a.example/.well-known/oauth-authorization-server/realms/x"
    )
    assert oauth_url("https://a.example") == "https://a.example/.well-known/oauth-authorization-server"


def test_what_is_discovered_is_used(bench: Bench) -> None:
    """The token step goes to the discovered endpoint where the flow file names none."""
    bench.provider = replace(bench.provider, endpoints={})
    bench.server.on(OIDC, as_json(document(bench)))
    bench.server.on("/t", token_answer())
    result = bench.run(Discover(name="discover"), Token(name="token"))
    assert result.passed, result.detail
    assert [s.path for s in bench.server.seen] == [OIDC, "/t"]
    assert result.warnings == ()


def test_a_provider_without_openid_is_found_by_rfc_8414(bench: Bench) -> None:
    """`auto` tries the OAuth form after a 404; it needs no members of OpenID Connect."""
    members = {
        "authorization_endpoint": None,
        "subject_types_supported": None,
        "id_token_signing_alg_values_supported": None,
    }
    bench.server.on(OAUTH, as_json(document(bench, **members)))
    result = bench.run(Discover(name="discover"))
    assert result.passed, result.detail
    assert [s.path for s in bench.server.seen] == [OIDC, OAUTH]
    assert result.warnings == ()
    bench.provider = replace(bench.provider, discovery="oidc")
    assert bench.run(Discover(name="discover")).reason is Reason.DISCOVERY_UNAVAILABLE


def test_missing_formal_members_are_a_warning(bench: Bench) -> None:
    """A document that works but lacks a required list passes, and says so."""
    bench.server.on(OIDC, as_json(document(bench, subject_types_supported=None)))
    result = bench.run(Discover(name="discover"))
    assert result.passed
    assert "subject_types_supported" in last(result).warnings[0].detail


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(503), Reason.DISCOVERY_UNAVAILABLE),
        (Answer(403, b"{}"), Reason.DISCOVERY_UNAVAILABLE),
        (Answer(204), Reason.DISCOVERY_UNAVAILABLE),
        (Answer(200, b"<html>hi</html>", HTML), Reason.DISCOVERY_INVALID),
        (Answer(200, b"nope"), Reason.DISCOVERY_INVALID),
        (as_json(["a"]), Reason.DISCOVERY_INVALID),
        (as_json({}), Reason.DISCOVERY_INVALID),
        (Answer(302, b"", [("Location", "http://elsewhere.invalid/")]), Reason.REDIRECT_UNEXPECTED),
    ],
)
def test_each_bad_answer_has_its_reason(bench: Bench, answer: Answer, reason: Reason) -> None:
    """Wrong statuses are unavailable, wrong content is invalid; both are the provider's."""
    bench.server.on(OIDC, answer)
    bench.server.on(OAUTH, answer)
    result = bench.run(Discover(name="discover"))
    assert (result.reason, result.blame, result.counts) == (reason, Blame.PROVIDER, Counts.AUTH), result.detail


def test_edges_and_limits_are_nobodys_outage(bench: Bench) -> None:
    """A block page and a rate limit in front of discovery page nobody at night."""
    bench.server.on(OIDC, Answer(403, b"<html>you have been blocked</html>", HTML))
    assert bench.run(Discover(name="discover")).blame is Blame.EDGE
    bench.server.on(OIDC, Answer(429))
    assert bench.run(Discover(name="discover")).reason is Reason.IDP_RATE_LIMITED


@pytest.mark.parametrize("suffix", ["/", "/x", "?a=b"])
def test_the_issuer_is_compared_to_the_letter(bench: Bench, suffix: str) -> None:
    """A trailing slash is another issuer: clients will refuse the tokens."""
    bench.server.on(OIDC, as_json(document(bench, issuer=bench.server.url + suffix)))
    assert bench.run(Discover(name="discover")).reason is Reason.DISCOVERY_ISSUER_MISMATCH


def test_endpoints_without_https_are_refused(bench: Bench) -> None:
    """Plain http outside loopback would send the secret in the clear."""
    bench.server.on(OIDC, as_json(document(bench, token_endpoint="http://login.example/token")))
    result = bench.run(Discover(name="discover"))
    assert (result.reason, "token" in str(result.detail)) == (Reason.DISCOVERY_INVALID, True)


def test_a_redirect_within_the_origin_is_followed(bench: Bench) -> None:
    """The default for discovery; each hop is an exchange of its own."""
    bench.server.on(OIDC, Answer(302, b"", [("Location", "/moved")]))
    bench.server.on("/moved", as_json(document(bench)))
    result = bench.run(Discover(name="discover"))
    assert result.passed, result.detail
    assert [x.resend_count for x in last(result).exchanges] == [0, 1]

"""Talking to an authorization server (RFC 6749): client authentication, and its answers read by status first, then by code."""

import re
from collections.abc import Mapping
from typing import NoReturn

from otelprobe.challenge import readable_code
from otelprobe.client_auth import client_authentication, refused_client
from otelprobe.dpop import proof_key, refused_proof, send_with_proof
from otelprobe.http import Reply
from otelprobe.pages import challenged, classify_page, is_html
from otelprobe.reasons import Blame, CheckFailed, Counts, Reason
from otelprobe.result import Fact
from otelprobe.signing import Signer
from otelprobe.step import AuthorizationCode, Context, Done, StepFailed, Tokens

ERRORS: Mapping[str, Reason] = {
    "invalid_client": Reason.INVALID_CLIENT,
    "incorrect_client_credentials": Reason.INVALID_CLIENT,
    "unauthorized_client": Reason.UNAUTHORIZED_CLIENT,
    "unsupported_grant_type": Reason.UNSUPPORTED_GRANT_TYPE,
    "invalid_scope": Reason.INVALID_SCOPE,
    "invalid_request": Reason.INVALID_REQUEST,
    "invalid_target": Reason.INVALID_REQUEST,
    "invalid_dpop_proof": Reason.INVALID_REQUEST,
    "access_denied": Reason.ACCESS_DENIED,
    "invalid_grant": Reason.INVALID_GRANT,
    "bad_verification_code": Reason.INVALID_GRANT,
    "bad_refresh_token": Reason.INVALID_GRANT,
    "login_required": Reason.LOGIN_REQUIRED,
    "interaction_required": Reason.LOGIN_REQUIRED,
    "account_selection_required": Reason.LOGIN_REQUIRED,
    "consent_required": Reason.CONSENT_REQUIRED,
    "mfa_required": Reason.MFA_REQUIRED,
    "server_error": Reason.IDP_ERROR,
    "temporarily_unavailable": Reason.IDP_ERROR,
    "slow_down": Reason.IDP_RATE_LIMITED,
}
"""OAuth error codes (RFC 6749, 8628, 8707, OpenID Connect, and known dialects) to reasons."""

_LONGEST = 2.0**53
_SENDABLE = re.compile(r"[\x20-\x7e]+")


def spend_budget(ctx: Context) -> None:
    """Count one request against the provider's budget; CheckFailed(budget_exhausted) if none is left."""
    provider = ctx.identity_provider()
    if provider.budget is None or ctx.memory.budget(provider.name, provider.budget).take(ctx.clock.monotonic()):
        return
    limit = f"{provider.budget.count} in {provider.budget.per:g} s"
    raise CheckFailed(Reason.BUDGET_EXHAUSTED, f"the budget of provider {provider.name} ({limit}) is used up")


def post(ctx: Context, url: str, form: Mapping[str, str | tuple[str, ...]]) -> Reply:
    """Post a form to an endpoint with the client's authentication; list members are sent once for each value."""
    return _checked(ctx, _post(ctx, url, form, {}, 0))


def post_for_tokens(
    ctx: Context, form: Mapping[str, str | tuple[str, ...]], earlier: Tokens | None = None
) -> tuple[Reply, Signer | None]:
    """Post a form to the token endpoint; give the answer and the key that the tokens in it are to be bound to.

    With DPoP (RFC 9449) the request carries a proof; `earlier` are the tokens whose key has to be used, as in a refresh.
    """
    url = ctx.endpoint("token")
    key = proof_key(ctx, earlier)
    if key is None:
        return post(ctx, url, form), None

    def attempt(headers: Mapping[str, str], resent: int) -> Reply:
        return _post(ctx, url, form, headers, resent)

    return _checked(ctx, send_with_proof(ctx, key, "POST", url, attempt)), key


def _post(
    ctx: Context, url: str, form: Mapping[str, str | tuple[str, ...]], more: Mapping[str, str], resent: int
) -> Reply:
    pairs = [(k, v) for k, vs in form.items() for v in ((vs,) if isinstance(vs, str) else vs)]
    headers, extra = client_authentication(ctx, url)
    return ctx.send("POST", url, headers={**headers, **more}, form=[*pairs, *extra], resent=resent)


def _checked(ctx: Context, reply: Reply) -> Reply:
    """Raise for a refusal of what we have signed where more than its code can be told about it."""
    code = (_json_object(reply) or {}).get("error") if reply.status in {400, 401} else None
    if not isinstance(code, str):
        return reply
    told = f"status {reply.status}, OAuth error {code}"
    failed = refused_proof(ctx, reply, told, code)
    if failed is None and ERRORS.get(code) in {Reason.INVALID_CLIENT, Reason.UNAUTHORIZED_CLIENT}:
        failed = refused_client(ctx, reply, told)
    if failed is not None:
        raise StepFailed(failed, Done(facts={Fact.ISSUANCE_OAUTH_ERROR: code}))
    return reply


def read_object(reply: Reply, *, grant_is_ours: bool = True) -> dict[str, object]:
    """Give the JSON object of a successful answer; CheckFailed with what the provider said instead.

    `grant_is_ours` says that a refused grant (`invalid_grant`) is the configuration's fault: false for refresh and code,
    where the provider itself issued what it now refuses.
    """
    refuse_failures(reply)
    document = _json_object(reply)
    # An empty error beside a token is how some servers say that there is none.
    if document is not None and document.get("error") and isinstance(document["error"], str):
        raise_oauth_error(reply, document, grant_is_ours=grant_is_ours)
    if reply.status >= 400:
        raise CheckFailed(Reason.IDP_HTTP_4XX, f"status {reply.status} without an OAuth error")
    if document is None:
        kind = reply.media_type or "no media type"
        raise CheckFailed(Reason.IDP_NOT_JSON, f"status {reply.status} with {kind} where a JSON object is due")
    return document


def refuse_failures(reply: Reply) -> None:
    """Raise for what the status or an edge says before any body is read: challenge, 429, 5xx, page, redirect."""
    if challenged(reply):
        raise CheckFailed(Reason.BOT_CHALLENGE, f"status {reply.status} from a bot check in front of the provider")
    if reply.status == 429:
        raise CheckFailed(Reason.IDP_RATE_LIMITED, _retry_after(reply))
    if reply.status >= 500:
        raise CheckFailed(Reason.IDP_HTTP_5XX, f"status {reply.status}")
    page = classify_page(reply)
    if page is not None:
        raise CheckFailed(page, f"status {reply.status} with a page from in front of the provider")
    if 300 <= reply.status < 400:
        raise CheckFailed(Reason.REDIRECT_UNEXPECTED, f"status {reply.status} where no redirect is followed")
    if is_html(reply) and reply.status < 400:
        raise CheckFailed(Reason.IDP_NOT_JSON, f"status {reply.status} with an HTML page where JSON is due")


def _retry_after(reply: Reply) -> str:
    wait = reply.value("Retry-After")
    return f"status 429, retry after {wait} s" if wait.isdigit() else "status 429"


def _json_object(reply: Reply) -> dict[str, object] | None:
    try:
        document = reply.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def raise_oauth_error(reply: Reply, document: Mapping[str, object], *, grant_is_ours: bool) -> NoReturn:
    """Raise the reason of an OAuth error. The code is told if it is one we know: a free text might hold anything."""
    code = str(document["error"])
    reason = ERRORS.get(code, Reason.OAUTH_ERROR_OTHER)
    known = readable_code(code)
    blame, counts = None, None
    if reason is Reason.INVALID_GRANT:
        blame, counts = (Blame.CONFIG, Counts.NONE) if grant_is_ours else (Blame.PROVIDER, Counts.AUTH)
    failed = CheckFailed(reason, f"status {reply.status}, OAuth error {known}", blame=blame, counts=counts)
    raise StepFailed(failed, Done(facts={Fact.ISSUANCE_OAUTH_ERROR: known}))


def read_tokens(
    ctx: Context,
    document: Mapping[str, object],
    *,
    for_resource: bool = False,
    proof_key: Signer | None = None,
    authorization: AuthorizationCode | None = None,
    asked: tuple[tuple[str, str], ...] = (),
    own_session: bool = False,
) -> Tokens:
    """Read a token response (RFC 6749, section 5.1); CheckFailed(token_missing, expires_in_invalid) if it is none.

    What is not in the response itself is as `Tokens` has it.
    """
    access = document.get("access_token")
    if not isinstance(access, str) or not access:
        raise CheckFailed(Reason.TOKEN_MISSING, "the answer has no access_token")
    refresh = _text(document, "refresh_token")
    return Tokens(
        access=sendable(access),
        refresh=sendable(refresh) if refresh is not None else None,
        id_token=_text(document, "id_token"),
        token_type=_text(document, "token_type"),
        expires_in=_seconds(document.get("expires_in")),
        scope=_scopes(ctx, document.get("scope")),
        obtained_at=ctx.now(),
        for_resource=for_resource,
        proof_key=proof_key,
        authorization=authorization,
        asked=asked,
        own_session=own_session,
    )


def _scopes(ctx: Context, value: object) -> str | None:
    """Read granted scopes: with spaces between (RFC 6749, section 3.3), but for GitHub, which writes commas."""
    if not isinstance(value, str):
        return None
    return value.replace(",", " ") if ctx.provider is not None and ctx.provider.preset == "github" else value


def sendable(token: str) -> str:
    """Give a token as it is; CheckFailed(token_malformed) for one that cannot be sent on (RFC 6749, A.12 and A.17)."""
    if not _SENDABLE.fullmatch(token):
        raise CheckFailed(
            Reason.TOKEN_MALFORMED, "the token has a character that must not be in one: it cannot be sent"
        )
    return token


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


def _seconds(value: object) -> float | None:
    """Read `expires_in`: a number, or digits as text, which some providers send and every client library takes."""
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise CheckFailed(Reason.EXPIRES_IN_INVALID, "expires_in is not a number")
    # Python reads NaN, 1e999 and integers of any length, which are no seconds.
    if not 0 <= value <= _LONGEST:
        raise CheckFailed(Reason.EXPIRES_IN_INVALID, "expires_in is negative, or no number of seconds at all")
    return float(value)

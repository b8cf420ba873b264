"""How the client proves to the authorization server who it is (RFC 6749, 7523, 8705); every secret is read at each use."""

from base64 import b64encode
from collections.abc import Mapping
from secrets import token_urlsafe

from otelprobe.certificates import named_in_header
from otelprobe.fields import SecretRef
from otelprobe.http import Reply
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, CheckFailed, Counts, Reason
from otelprobe.signing import LIFETIME, ClientAssertion, Signer, read_signer
from otelprobe.skew import clock_failure
from otelprobe.step import Context, form_text
from otelprobe.tokens import parse, time_claim

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_SIGNED = frozenset({"private_key_jwt", "client_secret_jwt"})
_EARLY = 5.0
"""Seconds by which an assertion may come from the future: a smaller difference is no reason to refuse one."""


def client_authentication(ctx: Context, url: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Give the headers and form members that authenticate the client at the endpoint `url`."""
    provider = ctx.identity_provider()
    method, client_id = provider.auth_method, provider.client_id or ""
    if method in _SIGNED:
        assertion = client_assertion(ctx, provider, url)
        form = {"client_id": client_id, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        return {}, list(form.items())
    if method not in {"client_secret_basic", "client_secret_post"} or provider.client_secret is None:
        return {}, [("client_id", client_id)] if client_id else []
    secret = provider.client_secret.read()
    if method == "client_secret_post":
        return {}, [("client_id", client_id), ("client_secret", secret)]
    # RFC 6749, section 2.3.1: id and secret are form-encoded before they are joined and encoded.
    pair = f"{form_text(client_id)}:{form_text(secret)}".encode()
    return {"Authorization": f"Basic {b64encode(pair).decode()}"}, []


def client_assertion(ctx: Context, provider: Provider, url: str) -> str:
    """Give the client's assertion: the one that lies ready, or a fresh one of 60 seconds, for one use."""
    settings = provider.client_assertion or ClientAssertion()
    if settings.token is not None:
        return _ready(settings.token)
    audience = provider.issuer if settings.audience == "issuer" else token_endpoint(ctx, url)
    party = {"iss": provider.client_id, "sub": provider.client_id, "aud": audience}
    signer = client_signer(provider)
    headers: Mapping[str, object] = {}
    if settings.certificate is not None:
        headers, _ = named_in_header(settings.certificate, settings.certificate_header, signer.jwk)
    return signed_assertion(ctx, signer, party, LIFETIME, headers)


def signed_assertion(
    ctx: Context,
    signer: Signer,
    claims: Mapping[str, object],
    lifetime: float,
    headers: Mapping[str, object] | None = None,
) -> str:
    """Sign an assertion (RFC 7523, section 3) that is valid from now on, with an id of its own."""
    now = int(ctx.now())
    return signer.sign({**claims, "iat": now, "exp": now + int(lifetime), "jti": token_urlsafe(16)}, headers)


def token_endpoint(ctx: Context, otherwise: str) -> str:
    """Give the token endpoint that the provider is known by, or another endpoint where a flow knows none.

    It names the server, so that it is no alias for mutual TLS.
    """
    try:
        return ctx.endpoint("token", alias=False)
    except CheckFailed:
        return otherwise


def client_signer(provider: Provider) -> Signer:
    """Give what the client signs its assertions with; CheckFailed(config_error) if it has nothing to."""
    settings = provider.client_assertion or ClientAssertion()
    if provider.auth_method == "client_secret_jwt" and provider.client_secret is not None:
        return read_signer(provider.client_secret, settings.algorithm or "HS256", settings.kid)
    if settings.key is None:
        raise CheckFailed(Reason.CONFIG_ERROR, "client_assertion has no key")
    return read_signer(settings.key, settings.algorithm, settings.kid)


def _ready(secret: SecretRef) -> str:
    token = secret.read().strip()
    if token.isascii() and token.isprintable():
        return token
    raise CheckFailed(Reason.CONFIG_ERROR, f"{secret.source}: not a JWT in compact form")


def refused_client(ctx: Context, reply: Reply, told: str) -> CheckFailed | None:
    """Say why a client that signs was refused, where it can be told: an assertion past its end, or clocks that differ."""
    provider = ctx.identity_provider()
    if provider.auth_method not in _SIGNED:
        return None
    ready = provider.client_assertion.token if provider.client_assertion is not None else None
    if ready is not None:
        return _past_its_end(ctx, ready, told)
    ended = _certificate_ended(ctx, provider, told)
    if ended is not None:
        return ended
    skew = reply.exchange.clock_skew or 0.0
    return clock_failure(ctx, reply, f"{told}; the client's assertion") if skew >= LIFETIME or skew < -_EARLY else None


def _certificate_ended(ctx: Context, provider: Provider, told: str) -> CheckFailed | None:
    """Say so where the certificate that the assertion names has ended."""
    settings = provider.client_assertion
    if settings is None or settings.certificate is None:
        return None
    signer = client_signer(provider)
    _, certificate = named_in_header(settings.certificate, settings.certificate_header, signer.jwk)
    left = certificate.remaining(ctx.now())
    if left > 0:
        return None
    detail = f"{told}; the certificate in {settings.certificate} ended {-left:.0f} s ago"
    return CheckFailed(Reason.CREDENTIAL_EXPIRED, detail, blame=Blame.CONFIG, counts=Counts.NONE)


def _past_its_end(ctx: Context, ready: SecretRef, told: str) -> CheckFailed | None:
    try:
        ends = time_claim(parse(ready.read().strip()).claims, "exp")
    except CheckFailed as failed:
        return CheckFailed(Reason.INVALID_CLIENT, f"{told}; the assertion in {ready.source}: {failed.detail}")
    if ends is None or ctx.now() < ends:
        return None
    detail = f"{told}; the assertion in {ready.source} ended {ctx.now() - ends:.0f} s ago and was not renewed"
    return CheckFailed(Reason.CREDENTIAL_EXPIRED, detail, blame=Blame.CONFIG, counts=Counts.NONE)

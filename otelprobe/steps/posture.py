"""Look at good practice from outside: what was seen in the run, a few read-only requests, and the rules of otelprobe.posture."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, field, replace
from hashlib import sha256
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

from otelprobe.fields import Duration, Url
from otelprobe.forging import GARBAGE
from otelprobe.http import Reply
from otelprobe.key_history import key_age
from otelprobe.key_sharing import shared_keys
from otelprobe.posture import Answered, Observations, PosturePolicy, Waiver, judge
from otelprobe.posture.policy import Judged, at_least
from otelprobe.posture.rules import BY_ID
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Layer, Reason
from otelprobe.result import Fact, Finding, Severity
from otelprobe.step import Context, Done, Judgement, KeySet, ProviderMetadata, Step, StepFailed, Tokens, filled
from otelprobe.tokens import Jwt, load_crypto, parse

_ORIGIN = "https://origin.otelprobe.invalid"
_GRANT = "urn:otelprobe:posture"
_MOST_TOLD = 5


@dataclass(frozen=True, kw_only=True)
class Posture(Step):
    """Put the posture rules to what the run has seen, and to the answers to at most six requests.

    They go to hosts that the flow file names, carry `X-Otelprobe-Case: posture`, and change nothing: a grant that does not
    exist at the token endpoint, an authorization request without redirect URI, plain http, and at `url` a preflight from a
    foreign origin, garbage for a token, and the good token. Put the step last; with `always` it looks also after a failure.
    """

    kind: ClassVar[str] = "posture"
    layer: ClassVar[Layer] = Layer.AUTH
    answers: ClassVar[bool] = False
    counted: ClassVar[bool] = False
    own_reasons: ClassVar[frozenset[Reason]] = frozenset({Reason.POSTURE_VIOLATED})

    url: Url | None = None
    """The API to look at; without it only the provider is. `${name}` may stand in path and query."""

    every: Duration = 3600.0
    """Requests are sent at most once in this time; between, the last findings stand. Default 1h."""

    ignore: tuple[Waiver, ...] = ()
    """Rules that may be broken: `[{rule: ID, reason: TEXT}]`. Reports show them with the reason; they count for nothing."""

    severity: Mapping[str, Severity] = field(default_factory=dict)
    """Severities of your own, by rule: `info`, `low`, `medium`, `high`."""

    fail_on: Severity | None = None
    """Fail with `posture_violated` from this severity on; default: findings fail nothing."""

    max_lifetime: Duration = 3600.0
    """Longest lifetime of an access token; default 1h."""

    max_key_age: Duration = 365 * 86400.0
    """Longest time that a signing key may be in use, as far as it was watched; default 365d."""

    compare_state: tuple[str, ...] = ()
    """State directories of probers of other environments: a key that is in them must not be this provider's (`key-shared`)."""

    def warm_up(self) -> None:
        """Import what tokens and keys are read with."""
        load_crypto()

    def calls_provider(self) -> bool:
        """Ask the provider with its own HTTP options, where the flow has one."""
        return True

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URLs that are asked."""
        return (*super().addresses(provider), *((self.url,) if self.url is not None else ()))

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url or "",)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        yield from self._policy().faults()

    def run(self, ctx: Context) -> Done:
        """Observe or recall, judge, and fail only by policy."""
        found = self._judged(ctx)
        rules = tuple(dict.fromkeys(f.rule for f in found.findings if f.waived is None))
        done = Done(facts={Fact.POSTURE_FINDINGS: rules, Fact.POSTURE_RULES: found.looked}, findings=found.findings)
        bad = at_least(found.findings, self.fail_on) if self.fail_on is not None else []
        if bad:
            told = "; ".join(f"{f.rule} ({f.severity.value}): {f.detail}" for f in bad[:_MOST_TOLD])
            more = f"; and {len(bad) - _MOST_TOLD} more" if len(bad) > _MOST_TOLD else ""
            blame = Blame.PROVIDER if BY_ID[bad[0].rule].side == "provider" else Blame.API
            raise StepFailed(CheckFailed(Reason.POSTURE_VIOLATED, f"{told}{more}", blame=blame), done)
        return done

    def _policy(self) -> PosturePolicy:
        return PosturePolicy(ignore=self.ignore, severity=self.severity)

    def _judged(self, ctx: Context) -> Judged:
        """Give the last findings while they are fresh, also those of another process, else look anew."""
        key, policy, now = f"posture.{ctx.flow}.{self.name}", _digest(repr(self)), ctx.now()
        kept = ctx.state.load(key) or {}
        if kept.get("policy") == policy and 0 <= now - _number(kept.get("at")) < self.every:
            return Judged(tuple(_findings(kept.get("findings"))), kept.get("looked") or 0)
        found = judge(self._observe(ctx), self._policy())
        findings = [asdict(finding) for finding in found.findings]
        ctx.state.save(key, {"at": now, "policy": policy, "looked": found.looked, "findings": findings})
        return found

    def _observe(self, ctx: Context) -> Observations:
        metadata, keys, tokens = ctx.find(ProviderMetadata), ctx.find(KeySet), ctx.find(Tokens, self.use)
        token = _parsed(tokens.access) if tokens is not None else None
        seen = Observations(
            now=ctx.now(),
            issuer=ctx.provider.issuer if ctx.provider is not None else None,
            document=metadata.document if metadata is not None else None,
            client_auth=ctx.provider.auth_method if ctx.provider is not None else None,
            insecure_http=bool(ctx.options.insecure_http),
            keys=keys.keys if keys is not None else None,
            key_cache=keys.cache_time if keys is not None else None,
            key_age=key_age(ctx) if ctx.provider is not None and keys is not None else None,
            shared_keys=(
                shared_keys(ctx, keys.keys, self.compare_state)
                if ctx.provider is not None and keys is not None
                else None
            ),
            token=token,
            id_token=_parsed(tokens.id_token) if tokens is not None else None,
            jti_repeated=_jti_repeated(ctx, token, self.name),
            origin=_ORIGIN,
            max_lifetime=self.max_lifetime,
            max_key_age=self.max_key_age,
        )
        seen = self._ask_api(ctx, self._ask_provider(ctx, seen), tokens)
        return replace(seen, tls=_agreed(ctx))

    def _ask_provider(self, ctx: Context, seen: Observations) -> Observations:
        if ctx.provider is None:
            return seen
        client = {"client_id": ctx.provider.client_id} if ctx.provider.client_id else {}
        token, login = _endpoint(ctx, "token"), _endpoint(ctx, "authorization")
        return replace(
            seen,
            refused_grant=_ask(ctx, "POST", token, form={"grant_type": _GRANT, **client}),
            login_page=_ask(ctx, "GET", _with_query(login, {"response_type": "code", "scope": "openid", **client})),
            plain_http=tuple(a for a in (_ask_plainly(ctx, ctx.provider.issuer),) if a is not None),
        )

    def _ask_api(self, ctx: Context, seen: Observations, tokens: Tokens | None) -> Observations:
        if self.url is None:
            return seen
        url = filled(ctx, self.url)
        preflight = {
            "Origin": _ORIGIN,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        return replace(
            seen,
            api_host=urlsplit(url).hostname,
            preflight=_ask(ctx, "OPTIONS", url, headers=preflight, safe_url=self.url),
            api_refusal=_ask(ctx, "GET", url, headers={"Authorization": f"Bearer {GARBAGE}"}, safe_url=self.url),
            api=_offer(ctx, tokens, url, self.url) if tokens is not None and tokens.proof_key is None else None,
        )


def _ask(ctx: Context, method: str, url: str | None, **more: Any) -> Answered | None:
    """Send one marked request; None where there is nothing to ask, or no answer came."""
    reply = _send(ctx, method, url, **more) if url is not None else None
    return Answered.of(reply) if reply is not None else None


def _send(ctx: Context, method: str, url: str, **more: Any) -> Reply | None:
    headers = {**(more.pop("headers", None) or {}), "X-Otelprobe-Case": "posture"}
    try:
        return ctx.send(method, url, headers=headers, control=True, **more)
    except CheckFailed:
        return None


def _offer(ctx: Context, tokens: Tokens, url: str, safe_url: str) -> Answered | None:
    """Show the good token, and note for the audit trail what the API made of it."""
    reply = _send(ctx, "GET", url, headers={"Authorization": f"Bearer {tokens.access}"}, safe_url=safe_url)
    if reply is None:
        return None
    if 200 <= reply.status < 300 or reply.status in {401, 403}:
        refused = Reason.API_REJECTS_VALID_TOKEN if reply.status >= 400 else None
        ctx.present(tokens.access, "access_token", judged=Judgement(refused, reply.exchange))
    return Answered.of(reply)


def _ask_plainly(ctx: Context, url: str) -> Answered | None:
    """Ask by plain http for what is served by https on its own port; no credential goes with it."""
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.port not in {None, 443} or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    plainly = replace(ctx, options=replace(ctx.options, insecure_http=True, headers={}))
    return _ask(plainly, "GET", f"http://{host}{parts.path or '/'}")


def _endpoint(ctx: Context, name: str) -> str | None:
    """Give a provider's endpoint if its host stands in the flow file."""
    provider = ctx.identity_provider()
    try:
        url = ctx.endpoint(name, alias=False)
    except CheckFailed:
        return None
    named = {urlsplit(str(one)).hostname for one in (provider.issuer, *provider.endpoints.values())}
    return url if urlsplit(url).hostname in named else None


def _with_query(url: str | None, query: Mapping[str, str]) -> str | None:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}" if url is not None else None


def _parsed(token: str | None) -> Jwt | None:
    try:
        return parse(token) if token is not None else None
    except CheckFailed:
        return None


def _jti_repeated(ctx: Context, token: Jwt | None, step: str) -> bool | None:
    """Tell whether another token had the same jti; None for the first. Digests are kept, no token and no jti."""
    jti = token.claims.get("jti") if token is not None else None
    if token is None or not isinstance(jti, str):
        return None
    key, now = f"posture-jti.{ctx.flow}.{step}", {"token": _digest(token.raw), "jti": _digest(jti)}
    before = ctx.state.load(key)
    ctx.state.save(key, now)
    if before is None or before.get("token") == now["token"]:
        return None
    return before.get("jti") == now["jti"]


def _findings(entries: object) -> Iterator[Finding]:
    """Read findings that were kept; what another hand has spoilt is left out."""
    for entry in entries if isinstance(entries, list) else []:
        with suppress(TypeError, ValueError, KeyError):
            yield Finding(**{**entry, "severity": Severity(entry["severity"])})


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("-inf")


def _digest(value: str) -> str:
    return sha256(value.encode()).hexdigest()[:32]


def _agreed(ctx: Context) -> tuple[tuple[str, str], ...]:
    """Give the TLS versions that were agreed on in this step, by host."""
    found = {(x.host, x.tls.protocol) for x in ctx.wire.exchanges if x.tls is not None}
    return tuple(sorted(found))

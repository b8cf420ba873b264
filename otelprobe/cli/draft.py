"""A flow file to begin with, written from what a provider offers and what is known of it; every choice says why.

Words of the discovery document go into the file as quoted text, or into comments only if they look like plain names.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from otelprobe.presets import PRESETS, Preset, PresetName, status_source, verify_faults
from otelprobe.provider import Provider
from otelprobe.quick import dataclass

SECRET = "CLIENT_SECRET"  # noqa: S105 - the name of an environment variable
_PLAIN = re.compile(r"[A-Za-z0-9_.:/+-]{1,80}")
_SCOPE = {"entra": "api://API-CLIENT-ID/.default", "okta": "SCOPE"}
_AUDIENCE = {"auth0": "https://api.example.com/"}
_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")
_MOST = 12


@dataclass(frozen=True, slots=True)
class Found:
    """What is known when the file is written. `document` is empty where no discovery document was read."""

    preset: PresetName
    issuer: str
    document: Mapping[str, object]
    client_id: str = "otelprobe"
    secrets_dir: str | None = None

    @property
    def known(self) -> Preset:
        """What the preset says."""
        return PRESETS[self.preset]

    @property
    def name(self) -> str:
        """A name for the provider: that of its preset, else the first part of its host that says something."""
        if self.preset != "generic":
            return self.preset
        labels = [part for part in (urlsplit(self.issuer).hostname or "").split(".") if part not in {"www", "login"}]
        name = labels[0] if labels and not labels[0].isdigit() else "idp"
        return name if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name) else "idp"

    def offered(self, member: str) -> tuple[str, ...]:
        """Give the plain words of a list in the discovery document."""
        value = self.document.get(member)
        words = value if isinstance(value, list) else []
        return tuple(word for word in words if isinstance(word, str) and _PLAIN.fullmatch(word))

    def secret(self, variable: str) -> str:
        """Say where a secret is read from: a variable, or the file of that name where Kubernetes mounts secrets."""
        if self.secrets_dir is None:
            return f"{{env: {variable}}}"
        return self.file(variable.lower().replace("_", "-"))

    def file(self, name: str) -> str:
        """Say where a file with a secret is."""
        return f"{{file: {name if self.secrets_dir is None else _quoted(f'{self.secrets_dir}/{name}')}}}"

    def provider(self) -> Provider:
        """Give the provider as the file will have it."""
        return Provider(name=self.name, preset=self.preset, issuer=self.issuer, client_id=self.client_id)


def draft(found: Found) -> str:
    """Write the flow file."""
    lines = [*_head(found), *_provider(found), "", "flows:", *_flow(found), *_certificate(found)]
    return "\n".join(lines) + "\n"


def _head(found: Found) -> Iterator[str]:
    yield f"# Written by `otelprobe init`; yours to change. Next: put the client's secret into {_place(found)}, then"
    yield "#   otelprobe validate FILE && otelprobe once FILE"
    if not found.document and found.known.discovered:
        yield "# Nothing was asked: replace what is written in capitals."


def _place(found: Found) -> str:
    return "the environment" if found.secrets_dir is None else found.secrets_dir


def _provider(found: Found) -> Iterator[str]:
    yield "providers:"
    yield f"  {found.name}:"
    if found.preset != "generic":
        yield f"    preset: {found.preset}  # {found.known.title}"
    yield f"    issuer: {_quoted(found.issuer)}"
    yield f"    client_id: {_quoted(found.client_id)}  # a client of its own, with no right but that of the check"
    yield from _authentication(found)


def _authentication(found: Found) -> Iterator[str]:
    """Choose how the client authenticates: the first of what we know that is offered."""
    offered = found.offered("token_endpoint_auth_methods_supported")
    if offered:
        yield f"    # Offered ways to authenticate: {_listed(offered)}."
    method = next((m for m in _METHODS if m in offered), None) if offered else _METHODS[0]
    if found.known.grant == "jwt_bearer":
        return
    if method == "private_key_jwt":
        yield "    client_auth: private_key_jwt"
        yield f"    client_assertion: {{key: {found.file('client-key.pem')}}}"
    elif method is None:
        yield "    client_auth: none"
    else:
        if method != _METHODS[0] or found.preset == "github":
            yield "    client_auth: client_secret_post"
        yield f"    client_secret: {found.secret(SECRET)}"


def _flow(found: Found) -> Iterator[str]:
    yield f"  - name: {found.name}-token"
    yield f"    provider: {found.name}"
    yield "    every: 60s"
    thresholds = ", ".join(f"{name} {seconds:g}s" for name, seconds in found.known.objectives.items())
    if thresholds:
        yield f"    # Known of {found.known.title}: {thresholds}; objective: {{...}} sets others."
    yield "    steps:"
    if found.known.discovered:
        yield "      - discover"
    verifies = not list(verify_faults(found.provider()))
    if verifies:
        yield "      - keys"
    yield from _token(found)
    yield from _after(found, verifies=verifies)
    if status_source(found.provider()) is not None:
        yield "      - status_page  # what they say of themselves, beside what we see"


def _token(found: Found) -> Iterator[str]:
    grant = _grant(found)
    grants = found.offered("grant_types_supported")
    if grants:
        yield f"      # Offered grants: {_listed(grants)}."
    yield "      - step: token"
    yield f"        grant: {grant}"
    if grant == "refresh_token":
        yield f"        refresh_token: {found.secret('REFRESH_TOKEN')}  # one that was issued before; its successors are kept"
    elif grant == "jwt_bearer":
        account = "ACCOUNT@PROJECT.iam.gserviceaccount.com"
        key = found.file("service-account.pem")
        yield f"        sign: {{key: {key}, claims: {{iss: {account}, scope: openid}}}}"
    else:
        yield from _asked(found)


def _grant(found: Found) -> str:
    """Propose the grant that needs no user, unless the provider has it not."""
    grants = found.offered("grant_types_supported")
    if found.known.grant != "client_credentials" or not grants or "client_credentials" in grants:
        return found.known.grant
    return "refresh_token"


def _asked(found: Found) -> Iterator[str]:
    """Ask for as little as works: no scope where none is needed."""
    if found.preset in _AUDIENCE:
        yield f"        audience: {_AUDIENCE[found.preset]}  # the API's identifier: without it the token is opaque"
    if found.preset in _SCOPE:
        yield f"        scope: {_SCOPE[found.preset]}  # the one that the check needs"
    else:
        scopes = found.offered("scopes_supported")
        listed = f"; offered: {_listed(scopes)}" if scopes else ""
        yield f"        # scope: ORDERS-READ  # nothing is asked for: name the one scope that the call needs{listed}"


def _after(found: Found, *, verifies: bool) -> Iterator[str]:
    if verifies and found.preset == "hydra":
        yield "      # - {step: verify, audience: API}  # if this Hydra issues JWT; by default they are opaque"
    elif verifies and found.preset == "cognito":
        yield "      - verify  # compares client_id and token_use, as these tokens have no aud"
    elif verifies:
        yield "      - step: verify"
        audience = _AUDIENCE.get(found.preset)
        said = f"audience: {audience}" if audience else "# audience: API  # what the API expects in aud"
        yield f"        {said}"
    else:
        yield "      # Its access tokens are opaque: the call shows whether they are good."
    yield "      # The API behind it; without a call only the issuing is watched:"
    yield "      # - {step: call, url: https://api.example.com/health}"
    if "introspection_endpoint" in found.document:
        yield "      # - {step: introspect, expect: {active: true}}  # if this client may ask"
    if "revocation_endpoint" in found.document:
        yield "      # - {step: revoke, always: true}  # if its access tokens can be revoked"


def _certificate(found: Found) -> Iterator[str]:
    if not found.issuer.startswith("https://") or not found.document:
        return
    yield f"  - name: {found.name}-ends"
    yield f"    provider: {found.name}"
    yield "    every: 6h"
    yield "    steps:"
    yield f"      - {{step: certificate, url: {_quoted(found.issuer)}}}"
    yield "      # - {step: credential_expiry, expires_at: 2027-01-31}  # when the client's secret ends"


def _quoted(text: str) -> str:
    """Write text so that YAML reads it as it is."""
    return json.dumps(text)


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _MOST} more" if len(words) > _MOST else ""
    return ", ".join(words[:_MOST]) + more

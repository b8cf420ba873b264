"""Keycloak's part of the campaign: realms of one server, each a provider of its own with a flow of its own."""

import datetime as dt
import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.stack.campaign.flows import Book
from tests.stack.campaign.table import ABRUPT, ENDING, KEYCLOAK, OVERLAP
from tests.stack.harness.keycloak import KEY_PROVIDER, SECRET, Keycloak
from tests.stack.harness.keycloak_admin import Admin

SECRET_VARIABLE = "KEYCLOAK_CLIENT_SECRET"
SOON, LONG = 5, 400
"""Days until the certificate of a signing key ends."""


class Realms:
    """The realms. `trouble` rotates keys and lets a certificate end soon; `freeze` is an outage of them all."""

    def __init__(self, keycloak: Keycloak) -> None:
        self._keycloak = keycloak
        self._admin = Admin(keycloak)
        self._key = generate_private_key(public_exponent=65537, key_size=2048)
        own = {KEY_PROVIDER: [{"name": "signing", "providerId": "rsa", "config": self._config(LONG)}]}
        self._names = {name: f"{name}-{secrets.token_hex(4)}" for name in KEYCLOAK}
        self._issuers = {
            name: self._admin.make_realm(realm, **({"components": own} if name == ENDING else {}))
            for name, realm in self._names.items()
        }
        self._kids = {name: self._admin.signing_kid(realm) for name, realm in self._names.items()}

    def _config(self, days: int) -> Mapping[str, Any]:
        """Give the signing key with a certificate that ends in so many days."""
        now, name = dt.datetime.now(dt.UTC), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ENDING)])
        built = x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
        built = built.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=days))
        certificate = built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
        private = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return {"privateKey": [private], "certificate": [certificate], "algorithm": ["RS256"], "priority": ["100"]}

    def add_to(self, book: Book) -> None:
        """Write a provider and a flow for each realm."""
        book.environment[SECRET_VARIABLE] = SECRET
        for name, issuer in self._issuers.items():
            steps: list[dict[str, Any] | str] = ["discover", "keys", "token", {"step": "verify", "audience": "orders"}]
            if name == ENDING:
                steps.append({"step": "saml_metadata", "name": name, "url": f"{issuer}/protocol/saml/descriptor"})
            book.add_issuer(name, issuer, SECRET_VARIABLE)
            book.add(name, steps, provider=name)

    def trouble(self) -> None:
        """Sign with new keys, in one realm without the old one; and let a certificate end soon."""
        for name in (OVERLAP, ABRUPT):
            self._admin.add_signing_key(self._names[name])
        self._admin.delete_key(self._names[ABRUPT], self._kids[ABRUPT])
        self._renew(SOON)

    def _renew(self, days: int) -> None:
        self._admin.change_key(self._names[ENDING], self._kids[ENDING], self._config(days))

    def freeze(self) -> None:
        """Let nothing be answered."""
        self._keycloak.freeze()

    def mend(self) -> None:
        """Let everything go on, and renew the certificate."""
        self._keycloak.thaw()
        self._renew(LONG)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keycloak.thaw()
        self._admin.close()

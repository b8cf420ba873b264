"""Encrypted assertions (XML Encryption 1.1): the content key is opened with the service provider's key, the content with that.

What comes out is no more trusted than what came in: it still has to be signed.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from otelprobe.reasons import Blame, CheckFailed, Counts, Reason
from otelprobe.saml.xml import NAMESPACES, below, child, parse, tag, text

_RSA_OAEP_MGF1P = f"{NAMESPACES['xenc']}rsa-oaep-mgf1p"
_RSA_OAEP = f"{NAMESPACES['xenc11']}rsa-oaep"
_CONTENT: Mapping[str, tuple[str, int]] = {
    f"{NAMESPACES['xenc']}aes128-cbc": ("cbc", 16),
    f"{NAMESPACES['xenc']}aes192-cbc": ("cbc", 24),
    f"{NAMESPACES['xenc']}aes256-cbc": ("cbc", 32),
    f"{NAMESPACES['xenc11']}aes128-gcm": ("gcm", 16),
    f"{NAMESPACES['xenc11']}aes192-gcm": ("gcm", 24),
    f"{NAMESPACES['xenc11']}aes256-gcm": ("gcm", 32),
}
"""Content ciphers by URI: how they work, and the bytes of their key."""

_BLOCK, _NONCE = 16, 12
_WRONG_KEY = "the assertion does not open with sp_key: the identity provider encrypts for another certificate"


def decrypt(encrypted: Any, key: Any) -> Any:
    """Give the assertion inside an EncryptedAssertion; CheckFailed(token_encrypted) if it cannot be opened.

    `key` is the service provider's private RSA key, or None.
    """
    if key is None:
        raise _closed("the assertion is encrypted, and there is no sp_key to open it with")
    data = child(encrypted, "xenc:EncryptedData")
    if data is None:
        raise _closed("the encrypted assertion holds no EncryptedData")
    how, size = _CONTENT.get(_method(data), ("", 0))
    if not how:
        raise _closed("the assertion is encrypted by a cipher that is not supported here: AES in CBC or GCM mode is")
    content_key = _content_key(encrypted, key)
    if len(content_key) != size:
        raise _closed(_WRONG_KEY)
    try:
        opened = (_open_gcm if how == "gcm" else _open_cbc)(content_key, _value(data))
    except ValueError:
        raise _closed("the encrypted assertion is damaged, or was encrypted with another key") from None
    return parse(opened, Reason.SAML_SIGNATURE_INVALID, "the decrypted assertion")


def _closed(detail: str) -> CheckFailed:
    return CheckFailed(Reason.TOKEN_ENCRYPTED, detail, blame=Blame.CONFIG, counts=Counts.NONE)


def _method(element: Any) -> str:
    found = child(element, "xenc:EncryptionMethod")
    return "" if found is None else str(found.get("Algorithm") or "")


def _value(element: Any) -> bytes:
    found = element.find(f"{tag('xenc:CipherData')}/{tag('xenc:CipherValue')}")
    return b64decode("".join(text(found).split()), validate=True)


def _content_key(encrypted: Any, key: Any) -> bytes:
    """Open the content key: the EncryptedKey stands inside the data's key information, or beside the data."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415 - heavy; seldom needed

    if not isinstance(key, RSAPrivateKey):
        raise _closed("the assertion is encrypted, and sp_key is no RSA key")
    for wrapped in list(below(encrypted, "xenc:EncryptedKey"))[:10]:
        try:
            return key.decrypt(_value(wrapped), _padding(wrapped))
        except ValueError:
            continue
    raise _closed(_WRONG_KEY)


def _padding(wrapped: Any) -> Any:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP  # noqa: PLC0415

    method = _method(wrapped)
    if method not in {_RSA_OAEP_MGF1P, _RSA_OAEP}:
        raise _closed("the key of the assertion is wrapped by a method that is not supported here: RSA-OAEP is")
    known: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
        "sha1": hashes.SHA1,
        "sha256": hashes.SHA256,
        "sha384": hashes.SHA384,
        "sha512": hashes.SHA512,
    }
    digest = next((d.get("Algorithm") or "" for d in below(wrapped, "ds:DigestMethod")), "#sha1")
    mask = next((m.get("Algorithm") or "" for m in below(wrapped, "xenc11:MGF")), "#mgf1sha1")
    hashed = known.get(digest.rpartition("#")[2])
    masked = known.get(mask.rpartition("#mgf1")[2])
    if hashed is None or masked is None:
        raise _closed("the key of the assertion is wrapped with a digest that is not supported here")
    return OAEP(mgf=MGF1(masked()), algorithm=hashed(), label=None)


def _open_gcm(key: bytes, sealed: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
    except InvalidTag:
        raise ValueError("the tag does not fit") from None


def _open_cbc(key: bytes, sealed: bytes) -> bytes:
    """Open AES in CBC mode; the last byte says how many bytes of padding there are (XML Encryption, section 5.2)."""
    from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.modes import CBC  # noqa: PLC0415

    opener = Cipher(AES(key), CBC(sealed[:_BLOCK])).decryptor()
    opened = opener.update(sealed[_BLOCK:]) + opener.finalize()
    padding = opened[-1] if opened else 0
    if not 1 <= padding <= _BLOCK:
        raise ValueError("the padding does not fit")
    return opened[:-padding]

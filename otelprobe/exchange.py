"""Token exchange (RFC 8693): one token for another, for a narrower purpose or on somebody's behalf."""

from collections.abc import Mapping

from otelprobe.reasons import CheckFailed, Reason
from otelprobe.step import Tokens
from otelprobe.tokens import shown

_URN = "urn:ietf:params:oauth:token-type:"
KINDS = ("access_token", "refresh_token", "id_token", "jwt", "saml1", "saml2")
"""Token types of RFC 8693, section 3, by the last word of their URN; any other type is written as its whole URI."""

_ACCESS = f"{_URN}access_token"


def token_type(word: str) -> str:
    """Give the URI of a token type that is written as a word."""
    return f"{_URN}{word}" if word in KINDS else word


def type_fault(word: str | None) -> str | None:
    """Say what is wrong with a token type, if anything is."""
    if word is None or word in KINDS or ":" in word:
        return None
    return f"not a token type: write one of {', '.join(KINDS)}, or a whole URI"


def party(role: str, tokens: Tokens, kind: str) -> dict[str, str]:
    """Give the form members of a subject or actor: the token of that kind that a step made, and its type."""
    of_kind: Mapping[str, str | None] = {"id_token": tokens.id_token, "refresh_token": tokens.refresh}
    token = of_kind.get(kind, tokens.access)
    if token is None:
        raise CheckFailed(Reason.CONFIG_ERROR, f"the {role} token is to be the {kind}, but none was issued")
    return {f"{role}_token": token, f"{role}_token_type": token_type(kind)}


def check_issued_type(found: object, requested: str | None) -> str:
    """Give `issued_token_type`; CheckFailed(token_type_unexpected) where it is missing or another than asked for."""
    if not isinstance(found, str) or not found:
        raise CheckFailed(Reason.TOKEN_TYPE_UNEXPECTED, "the answer has no issued_token_type (RFC 8693, section 2.2.1)")
    if requested is not None and found != token_type(requested):
        wanted = token_type(requested)
        raise CheckFailed(Reason.TOKEN_TYPE_UNEXPECTED, f"issued_token_type is {shown(found)}, expected {wanted}")
    return found


def is_access_token(issued_type: str | None) -> bool:
    """Tell whether what was issued is used as an access token: for anything else `token_type` may be `N_A`."""
    return issued_type in {None, _ACCESS, f"{_URN}jwt"}


def check_not_widened(granted: set[str] | None, asked: set[str], subject: set[str] | None) -> None:
    """Compare what was granted with what was asked for, else with what the subject token had; CheckFailed(scope_excess)."""
    allowed = asked or subject
    if granted is None or allowed is None:
        return
    extra = sorted(granted - allowed)
    if extra:
        than = "asked for" if asked else "the subject token has"
        raise CheckFailed(Reason.SCOPE_EXCESS, f"granted more than {than}: {shown(' '.join(extra))}")

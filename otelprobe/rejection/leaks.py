"""What refusals tell an attacker: answers that differ by what was wrong, and answers that show the server's insides."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from otelprobe.challenge import bearer_challenge, parse_challenges
from otelprobe.http import Reply
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.case import Case

_READ = 16 * 1024
_INSIDES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (what, re.compile(pattern))
    for what, pattern in (
        ("a Python stack trace", r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+"),
        (
            "a Java stack trace",
            r"\bat [\w.$]+\([\w$]+\.(?:java|kt|scala):\d+\)|\b(?:java|javax|org)\.[\w.]+Exception\b",
        ),
        ("a JavaScript stack trace", r"\bat [^\n]{0,120}\((?:node:|file:|/)[^\n)]*:\d+:\d+\)|node_modules/"),
        ("a .NET stack trace", r"\bat [\w.<>`]+\([^)]*\) in [^\n]+:line \d+|System\.[\w.]+Exception"),
        ("a Go stack trace", r"goroutine \d+ \[|panic: runtime error"),
        (
            "the name of a library",
            (
                r"JsonWebTokenError|TokenExpiredError|JWSSignatureVerificationFailed|JWTExpired|InvalidSignatureError"
                r"|PyJWT|joserfc|Authlib|nimbus|jjwt|io\.jsonwebtoken|Microsoft\.IdentityModel|IDX\d{5}|firebase/php-jwt"
            ),
        ),
        ("a statement of SQL", r"\bSELECT\b[^\n]{1,200}\bFROM\b|SQLSTATE|ORA-\d{5}|syntax error at or near"),
    )
)
_VOLATILE = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|[0-9a-fA-F]{16,}"
    r"|\d{4}-\d\d-\d\d[T ][0-9:.]+(?:Z|[+-][0-9:]+)?|\w{3}, \d\d \w{3} \d{4} [0-9:]+ GMT|\d+"
)
"""What differs from answer to answer by itself: ids, times and numbers."""


def differing(offered: Sequence[tuple[Case[Any, Any], Answer]]) -> tuple[str, ...]:
    """Name the cases whose refusals can be told from that of the first; empty where all look the same.

    Only cases that differ by what is wrong with the token are compared: no token at all may be answered otherwise
    (RFC 6750, section 3.1), and so may a good token without a scope.
    """
    seen = [(a.case, _likeness(a.reply)) for case, a in offered if case.uniform and a.reply is not None]
    return tuple(name for name, likeness in seen[1:] if likeness != seen[0][1])


def insides(offered: Sequence[tuple[Case[Any, Any], Answer]]) -> Iterator[tuple[str, str]]:
    """Give the cases whose answers show the server's insides, each with what it shows; never the text itself."""
    for _, answer in offered:
        if answer.reply is None:
            continue
        text = answer.reply.text[:_READ] + "\n" + "\n".join(answer.reply.values("WWW-Authenticate"))
        for what, pattern in _INSIDES:
            if pattern.search(text):
                yield answer.case, what


def _likeness(reply: Reply) -> tuple[object, ...]:
    """Give what an attacker can tell answers apart by: status, kind, challenge, and the words of the body."""
    challenge = bearer_challenge(parse_challenges(reply.values("WWW-Authenticate")))
    told = None if challenge is None else sorted((n, _VOLATILE.sub("#", v)) for n, v in challenge.params.items())
    return reply.status, reply.media_type, told and tuple(told), _VOLATILE.sub("#", reply.text[:_READ])

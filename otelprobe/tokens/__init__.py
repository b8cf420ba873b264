"""The only door to PyJWT: tokens are told apart, parsed, verified and signed here.

PyJWT's algorithms do the cryptography; the claims are tested here, each on its own, because PyJWT stops at the first
that fails and takes numeric strings for times. PyJWT costs 0.2 s to import, so that happens at the first use.
"""

from otelprobe.tokens.algorithms import (
    ASYMMETRIC,
    EXCEPTIONS,
    SYMMETRIC,
    AlgorithmName,
    load_crypto,
    reason_for,
)
from otelprobe.tokens.claims import time_claim, time_problems
from otelprobe.tokens.compact import Jwt, format_of, parse
from otelprobe.tokens.encoding import digest, shown
from otelprobe.tokens.issue import sign
from otelprobe.tokens.keys import (
    Key,
    certificate_end,
    certificate_thumbprint,
    generate_key,
    key_weakness,
    parse_key_set,
    pem_key,
    private_key,
    public_jwk,
    secret_key,
    signing_algorithms,
    thumbprint,
)
from otelprobe.tokens.policy import Condition, Policy, Problem, problem_facts
from otelprobe.tokens.verification import Verification, verify

__all__ = [
    "ASYMMETRIC",
    "EXCEPTIONS",
    "SYMMETRIC",
    "AlgorithmName",
    "Condition",
    "Jwt",
    "Key",
    "Policy",
    "Problem",
    "Verification",
    "certificate_end",
    "certificate_thumbprint",
    "digest",
    "format_of",
    "generate_key",
    "key_weakness",
    "load_crypto",
    "parse",
    "parse_key_set",
    "pem_key",
    "private_key",
    "problem_facts",
    "public_jwk",
    "reason_for",
    "secret_key",
    "shown",
    "sign",
    "signing_algorithms",
    "thumbprint",
    "time_claim",
    "time_problems",
    "verify",
]

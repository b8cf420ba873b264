"""Every posture rule, in the order of docs/posture.md."""

from collections.abc import Mapping
from types import MappingProxyType

from otelprobe.posture.key_rules import KEY_RULES
from otelprobe.posture.provider_rules import PROVIDER_RULES
from otelprobe.posture.rule import Rule
from otelprobe.posture.token_rules import TOKEN_RULES
from otelprobe.posture.wire_rules import WIRE_RULES

RULES: tuple[Rule, ...] = (*PROVIDER_RULES, *KEY_RULES, *TOKEN_RULES, *WIRE_RULES)

BY_ID: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in RULES})

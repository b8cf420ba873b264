"""The flows of the campaign: one for each fault and scenario, each at a provider of its own that bears its name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from otelprobe.demo import FAULTS
from tests.stack.campaign.table import SCENARIOS, TEAM
from tests.stack.campaign.targets import Target

Tree = dict[str, Any]

_GETTING_IN = ("discover", "keys", "token", "verify", "call")
_STEPS: Mapping[str, Sequence[str]] = {
    "reject": ("discover", "keys", "token", "verify", "reject"),
    "refresh": ("discover", "token", "refresh"),
    "introspect": ("discover", "token", "introspect"),
    "revoke": ("discover", "token", "revoke"),
}
"""The steps of the demo flow that a fault at this step needs; the others cost time and tell nothing."""

_SPENT: Mapping[str, Sequence[Tree | str]] = {
    "refresh-reuse-accepted": ({"step": "refresh", "expect": {"rotated": True, "reuse_refused": True}},),
    "revocation-ignored": ("revoke", {"step": "introspect", "expect": {"active": False}}),
}
"""What the demo flow does not look for, after `discover` and `token`."""

_LOOKING: Mapping[str, Tree] = {"discovery-drift": {"drift": {"fail": True}}}
"""What the demo flow lacks to see a fault."""

_CASES = {"api-trusts-inline-key": "inline_key"}
"""A bad credential that the demo flow does not offer."""

SLOW = frozenset({"slow-token", "api-slow"})
_WAITING = frozenset({"token-hanging", "trickling-body"})
_AVAILABLE = {"availability": "99.9%"}
TIMELY = {**_AVAILABLE, "auth_latency": "1s", "api_latency": "1s", "issuance_latency": "1s"}
"""Objectives, with those on time for flows whose fault takes time: on a busy machine all the others take some, too."""

SHARED = 3
"""How many flows share a provider where that matters."""


def env_name(variable: str, name: str) -> str:
    """Give a variable of a demo a name of its own."""
    return f"{variable}_{name.upper().replace('-', '_')}"


def own_environment(name: str, target: Target) -> Mapping[str, str]:
    """Give the secrets of a demo."""
    return {env_name(variable, name): value for variable, value in target.environment.items()}


def _renamed(value: Any, name: str) -> Any:
    """Let every `{env: ...}` of a tree mean this demo's secret."""
    if isinstance(value, dict):
        return {k: env_name(v, name) if k == "env" else _renamed(v, name) for k, v in value.items()}
    return [_renamed(item, name) for item in value] if isinstance(value, list) else value


class Book:
    """Collects providers and flows, and gives them as a flow file. `minute` is the length of one, in seconds."""

    def __init__(self, minute: float) -> None:
        self.minute = minute
        self.environment: dict[str, str] = {}
        self._providers: Tree = {}
        self._flows: list[Tree] = []

    @property
    def tree(self) -> Tree:
        """The flow file."""
        return {"providers": self._providers, "flows": self._flows} if self._providers else {"flows": self._flows}

    def add(self, name: str, steps: Sequence[Tree | str], **members: Any) -> None:
        """Add a flow that runs every two minutes."""
        flow = {
            "name": name,
            "every": f"{2000 * self.minute:.0f}ms",
            "deadline": "10s",
            "labels": {"team": TEAM.partition("-")[0]},
            "objective": _AVAILABLE,
        }
        self._flows.append({**flow, **members, "steps": list(steps)})

    def add_provider(self, name: str, target: Target, timeout: str = "5s", **members: Any) -> Tree:
        """Add a demo as a provider of this name; give the demo's steps by kind, without limits of time."""
        told = _renamed(target.flow_file, name)
        self.environment |= own_environment(name, target)
        (provider,) = told["providers"].values()
        (flow,) = told["flows"]
        http = {**provider["http"], "timeout": timeout}
        self._providers[name] = {**provider, "http": http, **members}
        return {step["step"]: _unhurried(step) for step in flow["steps"]}

    def add_issuer(self, name: str, issuer: str, variable: str) -> None:
        """Add a provider that is no demo; its client's secret is in this variable."""
        self._providers[name] = {
            "issuer": issuer,
            "client_id": "otelprobe",
            "client_secret": {"env": variable},
            "http": {"timeout": "1500ms"},
        }

    def add_fault(self, name: str, target: Target) -> None:
        """Add the demo flow as far as it matters for a fault."""
        steps = self.add_provider(name, target, timeout="1500ms" if name in _WAITING else "5s")
        members = {"objective": TIMELY} if name in SLOW | _WAITING else {}
        members |= _LOOKING.get(name, {})
        self.add(name, self._looking(name, steps), provider=name, http=self._providers[name]["http"], **members)

    def _looking(self, name: str, steps: Tree) -> Sequence[Tree | str]:
        """Give the steps that see a fault."""
        if name in _SPENT:
            return [steps["discover"], steps["token"], *_SPENT[name]]
        fault = FAULTS[name]
        chosen = [steps[kind] for kind in _STEPS.get(fault.step or "", _GETTING_IN)]
        if name in SLOW:
            return [_hurried(step) if step["step"] == fault.step else step for step in chosen]
        if name in _CASES:
            often = f"{1000 * self.minute:.0f}ms"  # in every run, though it is a slow case
            return [*chosen[:-1], {**chosen[-1], "cases": [_CASES[name]], "every": often}]
        return chosen


def _unhurried(step: Tree) -> Tree:
    """Drop what a busy machine would break."""
    kept = {key: value for key, value in step.items() if key != "timeout"}
    if "expect" in kept:
        kept["expect"] = {key: value for key, value in kept["expect"].items() if key != "max_duration"}
    return kept


def _hurried(step: Tree) -> Tree:
    return {**step, "expect": {**step.get("expect", {}), "max_duration": "1s"}}


def add_scenarios(book: Book, targets: Mapping[str, Target], board: str, files: Path) -> None:
    """Add the flows of the scenarios; `board` is where the status page and the key-info endpoints are."""
    steps = {name: book.add_provider(name, targets[name]) for name in targets}
    for number in range(SHARED):
        book.add(f"shared-{number}", _chosen(steps["shared-outage"], _GETTING_IN), provider="shared-outage")
    for name in ("slow-provider", "slow-api"):
        book.add(name, _chosen(steps[name], _GETTING_IN), provider=name, objective=TIMELY)
    drifting = _chosen(steps["drift"], ("discover", "token"))
    book.add("drift", [*drifting, "keys", {"step": "verify", "audience": "orders"}], provider="drift", drift={})
    book.add_provider("secret-missing", targets["secret-missing"], client_secret={"file": str(files / "client-secret")})
    book.add("secret-missing", _chosen(steps["secret-missing"], ("discover", "token")), provider="secret-missing")
    book.add_provider("status-page", targets["drift"])
    page = {"step": "status_page", "url": f"{board}/status", "format": "statuspage"}
    book.add("status-page", ["discover", page], provider="status-page")
    book.add("endings", list(_endings(board, files)))


def _chosen(steps: Tree, kinds: Sequence[str]) -> list[Tree]:
    return [steps[kind] for kind in kinds]


CERTIFICATES = {
    "saml-certificate": "saml_signing",
    "saml-certificate-soon": "saml_signing",
    "tls-certificate": "tls",
    "tls-certificate-soon": "tls",
    "client-certificate": "client_certificate",
}
"""The scenarios of certificates, and what these are for."""

KEYS = {"api-key": "api_key", "client-secret": "client_secret", "api-key-ended": "api_key"}
"""The scenarios of credentials that an endpoint knows the end of, and what they are."""

assert set(CERTIFICATES) | set(KEYS) <= set(SCENARIOS)


def _endings(board: str, files: Path) -> Sequence[Tree]:
    certificates = [
        {"step": "certificate", "name": name, "file": str(files / f"{name}.pem"), "subject": subject}
        for name, subject in CERTIFICATES.items()
    ]
    keys = [
        {"step": "credential_expiry", "name": name, "url": f"{board}/{name}", "subject": subject}
        for name, subject in KEYS.items()
    ]
    return [*certificates, *keys]

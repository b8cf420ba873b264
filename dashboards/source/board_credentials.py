"""Tokens and keys: what ends, what changed, and what is wrong with issued tokens."""

from dashboards.source import recording as rec
from dashboards.source.credentials import NAME, SUBJECT
from dashboards.source.frame import Board, Row
from dashboards.source.panels import BY_PLACE, BY_PROVIDER, DAYS, Column, Panel, grid, lines, number, prom, signed
from dashboards.source.promql import (
    DAY,
    ENV,
    ERROR,
    FLOW,
    KIND,
    PEER,
    PROVIDER,
    STEP,
    STEP_OUTCOME,
    by,
    label,
    select,
    sum_increase,
    sum_rate,
)  # fmt: skip
from otelprobe.telemetry import schema

_RATE = "$__rate_interval"
_OURS = f'{ENV}=~"$environment"'


def credentials() -> Board:
    """Give the board."""
    return Board(
        "otelprobe-credentials",
        "otelprobe / Tokens and keys",
        "Certificates, keys and secrets by their end; the providers' signing keys; what is wrong with issued tokens.",
        (
            Row("What ends", (*_ends(),)),
            Row("Signing keys", (*_keys(),)),
            Row("Issued tokens", (*_tokens(),)),
            Row("Refresh", (*_refresh(),)),
        ),
        span="now-24h",
    )


def _ends() -> tuple[Panel, ...]:
    ends = select(rec.EXPIRY, _OURS)
    keys = {SUBJECT: "what", NAME: "name", ENV: "environment"}
    return (
        *(
            number(f"Within {days} days", f"Certificates, keys and secrets that end within {days} days.",
                   f"count({ends} < {days * DAY:g})", "none", ((None, "green"), (1, colour)), span=8)
            for days, colour in ((7, "red"), (30, "orange"), (90, "yellow"))
        ),
        grid("Everything that ends", "Sorted by what ends first: red within 7 days, orange within 30, yellow within 90.", keys,
             (Column("ends in", ends, "s", DAYS),), sort="ends in", span=14),
        signed("Time left", "How long each has still to go; a step upwards is a renewal.",
               [prom(f"bottomk(20, {ends})", f"{{{{{SUBJECT}}}}} {{{{{NAME}}}}}")], "s", span=10),
    )  # fmt: skip


def _keys() -> tuple[Panel, ...]:
    change = label(schema.KEY_CHANGE)
    return (
        lines("Published keys", "Keys in each provider's key set.",
              [prom(f"max {by((PROVIDER,))} ({select(schema.KEY_COUNT, BY_PROVIDER)})", f"{{{{{PROVIDER}}}}}")], "none", span=8),
        lines("Age of the oldest key", "Since the oldest published key was first seen; it falls when a key is rotated.",
              [prom(f"max {by((PROVIDER,))} ({select(schema.KEY_AGE, BY_PROVIDER)})", f"{{{{{PROVIDER}}}}}")], "s", span=8),
        lines("Key changes", "Keys that were added, removed, replaced, or withdrawn while their tokens were alive.",
              [prom(sum_increase(schema.KEY_CHANGES, _RATE, (PROVIDER, change), BY_PROVIDER), f"{{{{{PROVIDER}}}}} {{{{{change}}}}}")],
              "none", stacked=True, span=8),
    )  # fmt: skip


def _tokens() -> tuple[Panel, ...]:
    faults = sum_rate(schema.VALIDATION_FAILURES, _RATE, (ERROR,), BY_PLACE, f'{ERROR}!=""')
    skew = f"max {by((FLOW, PEER))} ({select(rec.SKEW, BY_PLACE)})"
    return (
        lines("Validation failures a minute", "Faults found in issued tokens, by reason; above 10 a minute an alert fires.",
              [prom(f"{faults} * 60", f"{{{{{ERROR}}}}}")], "none", stacked=True, steps=((None, "green"), (10, "red")), span=8),
        lines("Lifetime of access tokens", "What the last issued access token was given; the twenty shortest.",
              [prom(f"bottomk(20, min {by((FLOW, STEP))} ({select(rec.LIFETIME, BY_PLACE)}))", f"{{{{{FLOW}}}}} {{{{{STEP}}}}}")], "s", span=8),
        signed("Clock skew", "The peer's clock minus ours, where they differ by more than two seconds; 30 s either way fire an alert.", [prom(skew, f"{{{{{FLOW}}}}} {{{{{PEER}}}}}")],
               "s", span=8),
    )  # fmt: skip


def _refresh() -> tuple[Panel, ...]:
    kind = f'{KIND}="refresh"'
    good = sum_increase(schema.STEP_RUNS, "1h", (FLOW,), BY_PLACE, kind, f'{STEP_OUTCOME}="pass"')
    ended = sum_increase(schema.STEP_RUNS, "1h", (FLOW,), BY_PLACE, kind, f'{STEP_OUTCOME}=~"pass|fail"')
    why = sum_increase(schema.STEP_RUNS, _RATE, (ERROR,), BY_PLACE, kind, f'{ERROR}!=""')
    return (
        lines("Refreshes that succeed", "Share of an hour's refreshes; below 98 % an alert fires.",
              [prom(f"{good} / {ended}", f"{{{{{FLOW}}}}}")], "percentunit", top=1),
        lines("Why refreshes fail", "By reason; refresh_not_rotated is a token that came back unchanged.",
              [prom(why, f"{{{{{ERROR}}}}}")], "none", stacked=True),
    )  # fmt: skip

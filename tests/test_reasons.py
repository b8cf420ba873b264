"""The table of reasons is complete and says what reasons.md says."""

import pytest

from otelprobe.reasons import VERDICTS, Blame, CheckFailed, Counts, Layer, Outcome, Reason


def test_every_reason_has_a_row_and_a_help() -> None:
    """No reason without blame, objective and a sentence on what to check first."""
    assert set(VERDICTS) == set(Reason)
    for reason, row in VERDICTS.items():
        assert len(row.help) > 30, reason
        assert row.help.endswith((".", "?")), reason


@pytest.mark.parametrize(
    ("reason", "layer", "outcome", "blame", "counts"),
    [
        (Reason.CONNECT_REFUSED, Layer.AUTH, Outcome.FAIL, Blame.PROVIDER, Counts.AUTH),
        (Reason.CONNECT_REFUSED, Layer.API, Outcome.FAIL, Blame.API, Counts.API),
        (Reason.DNS_FAILURE, Layer.API, Outcome.FAIL, Blame.NETWORK, Counts.API),
        (Reason.INVALID_CLIENT, Layer.AUTH, Outcome.FAIL, Blame.CONFIG, Counts.NONE),
        (Reason.API_REJECTS_VALID_TOKEN, Layer.API, Outcome.FAIL, Blame.API, Counts.AUTH),
        (Reason.API_UNAVAILABLE, Layer.API, Outcome.FAIL, Blame.API, Counts.API),
        (Reason.API_RATE_LIMITED, Layer.API, Outcome.FAIL, Blame.EDGE, Counts.NONE),
        (Reason.PROBER_ERROR, Layer.API, Outcome.ERROR, Blame.PROBER, Counts.NONE),
        (Reason.SECRET_MISSING, Layer.AUTH, Outcome.ERROR, Blame.CONFIG, Counts.NONE),
        (Reason.TOO_SLOW, Layer.API, Outcome.FAIL, Blame.API, Counts.API),
        (Reason.PROVIDER_DEGRADED, Layer.DEPENDENCY, Outcome.FAIL, Blame.PROVIDER, Counts.NONE),
        (Reason.ENDPOINT_NOT_PROTECTED, Layer.API, Outcome.FAIL, Blame.API, Counts.NONE),
    ],
)
def test_blame_and_objective_follow_the_table(
    reason: Reason, layer: Layer, outcome: Outcome, blame: Blame, counts: Counts
) -> None:
    """A row that names no side blames the owner of the step's layer."""
    assert CheckFailed(reason).assigned(layer) == (outcome, blame, counts)


def test_a_case_may_name_its_own_blame() -> None:
    """invalid_grant at a refresh is the provider's, whatever the table's default."""
    failed = CheckFailed(Reason.INVALID_GRANT, blame=Blame.CONFIG, counts=Counts.NONE)
    assert failed.assigned(Layer.AUTH) == (Outcome.FAIL, Blame.CONFIG, Counts.NONE)

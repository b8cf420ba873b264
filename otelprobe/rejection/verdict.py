"""What the answers to bad credentials come to, once all of them are in."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from otelprobe.reasons import Blame, CheckFailed, Reason
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.case import Case
from otelprobe.result import CaseResult, Fact, FactValue, Warn

Offered = tuple[Case[Any, Any], Answer]
"""A case with what came of it."""


def accepted(case: Case[Any, Any], answer: Answer) -> bool:
    """Tell whether a bad credential was taken."""
    if answer.found is not None:
        return answer.found
    return case.taken(answer) if case.taken is not None else answer.succeeded


def judge(
    offered: Sequence[Offered], controls: Sequence[Answer], doubts: Iterator[str], *, blame: Blame | None = None
) -> CheckFailed | None:
    """Judge in the order of what matters: taken, followed, told nothing, unanswered, broke the server."""
    taken = [(case, answer) for case, answer in offered if accepted(case, answer)]
    if taken:
        return _acceptance(taken, blame)
    fetched = [answer.case for _, answer in offered if answer.fetched]
    if fetched:
        told = f"fetched the URL that a bad token names: {', '.join(fetched)}"
        return CheckFailed(Reason.KEY_URL_FETCHED, told, blame=blame)
    answers = [answer for _, answer in offered]
    limited = next((a for a in (*answers, *controls) if a.limited), None)
    if limited is not None:
        reason = Reason.IDP_RATE_LIMITED if blame is Blame.PROVIDER else Reason.API_RATE_LIMITED
        return CheckFailed(reason, f"status 429 at case {limited.case}")
    doubt = next(doubts, None)
    if doubt is not None:
        return CheckFailed(Reason.REJECTION_INCONCLUSIVE, doubt)
    unanswered = next((a for a in answers if a.failed is not None), None)
    if unanswered is not None and unanswered.failed is not None:
        failed = unanswered.failed
        return CheckFailed(failed.reason, f"case {unanswered.case}: {failed.detail}", blame=failed.blame)
    broken = [a for a in answers if a.broken]
    if broken:
        told = ", ".join(f"{a.case} ({a.status})" for a in broken)
        return CheckFailed(Reason.REJECTION_SERVER_ERROR, f"answered with a server error: {told}", blame=blame)
    return None


def _acceptance(taken: Sequence[Offered], blame: Blame | None) -> CheckFailed:
    told = ", ".join(f"{case.told} ({_with_status(answer)})" for case, answer in taken)
    reasons = dict.fromkeys(case.reason for case, _ in taken)
    ranked = sorted(reasons, key=_RANK.index)
    return CheckFailed(ranked[0], f"accepted: {told}", problems=tuple(ranked), blame=blame)


_RANK = (
    Reason.ENDPOINT_NOT_PROTECTED,
    Reason.REJECTION_ACCEPTED,
    Reason.REFRESH_REUSE_ACCEPTED,
    Reason.REVOCATION_INEFFECTIVE,
)
"""The worst first."""


def _with_status(answer: Answer) -> str:
    return answer.case if answer.status is None else f"{answer.case}, status {answer.status}"


def odd_answers(offered: Sequence[Offered], also: Sequence[int]) -> Iterator[Warn]:
    """Warn of what is no acceptance, and yet no refusal by the server."""
    for case, answer in offered:
        if (
            accepted(case, answer)
            or answer.limited
            or answer.broken
            or answer.status is None
            or answer.found is not None
        ):
            continue
        if answer.page is not None:
            yield Warn(answer.page, f"case {answer.case} was answered by a page in place of the API")
        elif answer.status not in {*case.proper, *also}:
            wanted = " or ".join(str(status) for status in sorted(case.proper))
            yield Warn(Reason.ASSERTION_FAILED, f"case {answer.case} got status {answer.status}, expected {wanted}")


def case_results(offered: Sequence[Offered]) -> tuple[CaseResult, ...]:
    """Give what is published of each case."""
    return tuple(CaseResult(a.case, accepted(case, a), a.status, a.fetched) for case, a in offered)


def case_facts(offered: Sequence[Offered]) -> Mapping[str, FactValue]:
    """Name the cases that were tried, and those that were taken."""
    return {
        Fact.REJECTION_CASES: tuple(a.case for _, a in offered),
        Fact.REJECTION_ACCEPTED: tuple(a.case for case, a in offered if accepted(case, a)),
        **({Fact.REJECTION_FETCHED: fetched} if (fetched := tuple(a.case for _, a in offered if a.fetched)) else {}),
    }

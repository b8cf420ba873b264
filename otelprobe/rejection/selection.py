"""Which cases are tried in a run: what the flow file names, as many as a run may send, the rest in the runs after it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from otelprobe.fields import Scalar
from otelprobe.quick import dataclass
from otelprobe.rejection.case import Case, Group
from otelprobe.step import Context

Registry = Mapping[str, Case[Any, Any]]

DEFAULT: tuple[str, ...] = (Group.SAFE.value,)
"""What is tried where the flow file does not say."""


def numbers(registry: Registry) -> tuple[str, ...]:
    """Give the numbers of a catalogue, in order."""
    return tuple(dict.fromkeys(case.number for case in registry.values()))


def named(registry: Registry, word: str) -> tuple[Case[Any, Any], ...]:
    """Give the cases that a word of the flow file stands for: a case, a number of the catalogue, or a group."""
    if word in registry:
        return (registry[word],)
    return tuple(c for c in registry.values() if word in {c.number, c.group.value, "all"} or word == "all")


def case_words(registry: Registry) -> Scalar:
    """Give the reader of one word of `cases`."""
    words = [*registry, *numbers(registry), *(g.value for g in Group), "all"]

    def parse(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        if not isinstance(value, str):
            raise ValueError("not a case: write its name, a number such as N2, or safe, slow, intrusive, all")
        from difflib import get_close_matches  # noqa: PLC0415 - only for a mistake

        near = get_close_matches(value, words, 1)
        hint = f"did you mean {near[0]}?" if near else "docs/security.md lists them"
        raise ValueError(f"not a case: {hint} Groups are safe, slow, intrusive, all" if near else f"not a case: {hint}")

    return Scalar(parse, {"enum": words})


def selected(registry: Registry, words: Sequence[str]) -> tuple[Case[Any, Any], ...]:
    """Give the cases that a list of words stands for, each once, in the order of the catalogue."""
    chosen = {case.word for word in words for case in named(registry, word)}
    return tuple(case for case in registry.values() if case.word in chosen)


def in_group(cases: Iterable[Case[Any, Any]], *groups: Group) -> tuple[Case[Any, Any], ...]:
    """Give the cases of these groups."""
    return tuple(case for case in cases if case.group in groups)


def named_too(registry: Registry, words: Sequence[str]) -> frozenset[str]:
    """Give the cases that a list names by themselves or by number, not only as part of a group."""
    own = [word for word in words if word in registry or word in numbers(registry)]
    return frozenset(case.word for word in own for case in named(registry, word))


def notes_of(registry: Registry, words: Sequence[str], every: float) -> Iterator[str]:
    """Say which cases are offered, by group, for the plan."""
    chosen = selected(registry, words)
    for group in Group:
        found = [case.word for case in in_group(chosen, group)]
        if found:
            yield f"{group}{'' if group is Group.SAFE else f', every {every:g} s'}: {' '.join(found)}"


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is in this run: names of what is tried. `postponed` says why slow cases wait, the first time."""

    names: tuple[str, ...]
    postponed: str | None = None


class Rota:
    """What was tried when, for one step of one flow; it outlives the process where there is a state directory."""

    def __init__(self, ctx: Context, step: str) -> None:
        self._ctx = ctx
        self._key = f"reject-{ctx.flow}-{step}"
        self._document = dict(ctx.state.load(self._key) or {})

    def take(self, safe: Sequence[str], slow: Sequence[str], most: int, every: float) -> Turn:
        """Choose what is tried now, and note it: at most `most` safe ones, and as many slow ones where they are due."""
        names = self._slice("safe", safe, most)
        due, postponed = self._due(every) if slow else (False, None)
        if due:
            names = (*names, *self._slice("slow", slow, most))
            self._document["slow_at"] = self._ctx.now()
        self._ctx.state.save(self._key, self._document, sync=due and self._ctx.state.durable)
        return Turn(names, postponed)

    def _due(self, every: float) -> tuple[bool, str | None]:
        """Tell whether slow cases are due. What cannot be remembered between runs must not be tried in each of them."""
        last = self._document.get("slow_at")
        now = self._ctx.now()
        if isinstance(last, int | float) and last <= now:
            return now - last >= every, None
        if last is None and self._ctx.state.durable:
            return True, None
        self._document["slow_at"] = now
        if last is not None:
            return False, None
        return (
            False,
            f"when slow cases were last tried is not known: they wait for {every:g} s, as there is no state_dir",
        )

    def _slice(self, kind: str, names: Sequence[str], most: int) -> tuple[str, ...]:
        """Take turns: begin where the last run ended, by name, as a run may have other cases than the one before it."""
        if len(names) <= most:
            self._document.pop(kind, None)
            return tuple(names)
        following = self._document.get(kind)
        start = names.index(following) if following in names else 0
        turned = [*names[start:], *names[:start]]
        self._document[kind] = turned[most]
        return tuple(turned[:most])

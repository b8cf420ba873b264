"""docs/reasons.md, the page that alerts link to."""

import re
from pathlib import Path

from otelprobe.cli.reference import reasons_markdown
from otelprobe.reasons import VERDICTS, Reason

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_table_says() -> None:
    """docs/reasons.md is generated; `python -m otelprobe.cli.reference > docs/reasons.md` writes it."""
    assert (DOCS / "reasons.md").read_text(encoding="utf-8") == reasons_markdown()


def test_every_reason_has_its_anchor() -> None:
    """A link to reasons.md#<reason> hits exactly one heading, under it the help."""
    page = reasons_markdown()
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
    for reason in Reason:
        assert slugs.count(reason.value) == 1
        section = page.partition(f"### {reason.value}\n")[2].partition("\n#")[0]
        assert VERDICTS[reason].help in section


def test_every_link_leads_somewhere() -> None:
    """Each link inside the page has its heading, and each reason named in the rules exists."""
    page = reasons_markdown()
    assert set(re.findall(r"\]\(#(\w+)\)", page)) == {r.value for r in Reason}
    rules = page.partition("## How a reason is found")[2].partition("## Contents")[0]
    named = set(re.findall(r"`([a-z0-9_]+_[a-z0-9_]+)`", rules)) - {"invalid_token"}
    assert named <= {r.value for r in Reason}

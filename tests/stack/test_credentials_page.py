"""docs/credentials.md: each flow file runs as it is written (at Keycloak and others), and the page shows what is printed."""

import tempfile
from pathlib import Path

from tests.stack import credentials_page as page
from tests.stack.servers import told_in_one_line


def test_the_page_shows_what_is_printed() -> None:
    """Healthy and broken, but for times, ids and dates; `python -m tests.stack.credentials_page` writes the page anew."""
    with tempfile.TemporaryDirectory(prefix="otp-") as folder:
        with told_in_one_line():
            servers = page.Servers(Path(folder))
        try:
            printed = "\n".join(page.sections(servers))
        finally:
            servers.stop()
    assert page.normalised(printed).split() == page.normalised(page.shown()).split()

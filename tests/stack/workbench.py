"""The workbench on a token of a server that nobody here wrote: `otelprobe jwt verify --issuer`, good and tampered."""

from pathlib import Path
from urllib.parse import quote_plus

import pytest
import requests

from otelprobe.__main__ import main


def check_workbench(
    issuer: str, form: dict[str, str], auth: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ask for a token by a form; it is verified by the issuer's own keys, for its audience only, and unchanged only."""
    with requests.Session() as http:
        http.trust_env = False
        endpoint = http.get(f"{issuer}/.well-known/openid-configuration", timeout=20).json()["token_endpoint"]
        quoted = quote_plus(auth[0]), quote_plus(auth[1])  # RFC 6749, section 2.3.1
        token = http.post(endpoint, form, auth=quoted, timeout=20).json()["access_token"]
    file = folder / "token"
    file.write_text(token)
    words = ["jwt", "verify", str(file), "--issuer", issuer, "--audience"]
    capsys.readouterr()
    assert main([*words, "orders"]) == 0, capsys.readouterr().out
    assert main([*words, "billing"]) == 1
    assert "audience_mismatch" in capsys.readouterr().out
    head, payload, signature = token.split(".")
    file.write_text(f"{head}.{payload}.{signature[:20]}{'A' if signature[20] != 'A' else 'B'}{signature[21:]}")
    assert main([*words, "orders"]) == 1
    out = "".join(capsys.readouterr())
    assert "signature_invalid" in out
    assert signature not in out

"""Bodies with secrets anywhere inside."""

from pathlib import Path

import pytest

from otelprobe.fields import SecretRef
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.secret_tree import parse_secret_tree, resolve, secrets_in


def test_secrets_at_any_depth_are_found_and_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping that is exactly {env:} or {file:} is a secret wherever it stands, and everything else stays."""
    (tmp_path / "s").write_text("from-file\n")
    monkeypatch.setenv("T_SECRET", "from-env")
    written = {
        "a": [{"b": {"env": "T_SECRET"}}, 1, None],
        "c": {"file": str(tmp_path / "s")},
        "d": {"env": "x", "e": 1},
    }
    tree = parse_secret_tree(written)
    assert secrets_in(tree) == (SecretRef(env="T_SECRET"), SecretRef(file=str(tmp_path / "s")))
    assert "from-" not in repr(tree)
    assert resolve(tree) == {"a": [{"b": "from-env"}, 1, None], "c": "from-file", "d": {"env": "x", "e": 1}}


def test_a_rotated_secret_is_picked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are read each time, never kept."""
    tree = parse_secret_tree({"env": "T_SECRET"})
    monkeypatch.setenv("T_SECRET", "old")
    assert resolve(tree) == "old"
    monkeypatch.setenv("T_SECRET", "new")
    assert resolve(tree) == "new"


def test_a_missing_secret_is_told_by_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read fails with secret_missing and the name of the source."""
    monkeypatch.delenv("T_SECRET", raising=False)
    with pytest.raises(CheckFailed, match="T_SECRET") as caught:
        resolve(parse_secret_tree(["x", {"env": "T_SECRET"}]))
    assert caught.value.reason is Reason.SECRET_MISSING


@pytest.mark.parametrize(("written", "mend"), [({"env": ""}, "env: NAME"), ({"a": [{"file": None}]}, "file: PATH")])
def test_a_secret_without_a_source_is_refused(written: object, mend: str) -> None:
    """An empty reference is a fault of the file, not a body to send."""
    with pytest.raises(ValueError, match=mend):
        parse_secret_tree(written)


@pytest.mark.parametrize("written", [{"env": 5}, {"file": ["a"]}, {"env": "a", "file": "b"}, "env", 5, None, [], {}])
def test_what_is_no_reference_stays_as_it_is(written: object) -> None:
    """Only the exact form is a secret."""
    assert parse_secret_tree(written) == written
    assert secrets_in(parse_secret_tree(written)) == ()

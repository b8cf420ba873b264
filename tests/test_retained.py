"""Tokens that are kept between runs: sealed on disk, bounded in number, gone in time, and in the clear nowhere."""

from pathlib import Path

from otelprobe.fields import SecretRef
from otelprobe.provider import Provider
from otelprobe.retained import Retained, forget, outlives_process, recall, retain, spend
from otelprobe.state import Memory, State
from tests.token_kit import ISSUER, NOW, World

TOKEN = "retained-canary-token"


def world(tmp_path: Path, *, secret: str | None = "s3cr3t", durable: bool = True) -> World:
    """Give a world whose provider has a client secret and whose state outlives the process, unless told otherwise."""
    source = None
    if secret is not None:
        file = tmp_path / "client-secret"
        file.write_text(secret)
        source = SecretRef(file=str(file))
    provider = Provider(name="corp", issuer=ISSUER, client_id="otelprobe", client_secret=source)
    return World("http://127.0.0.1:1", provider=provider, state=State(tmp_path / "state" if durable else None))


def restarted(old: World, tmp_path: Path) -> World:
    """Give the same world in another process."""
    old.state.flush()
    return World(old.url, provider=old.provider, clock=old.clock, state=State(tmp_path / "state"), memory=Memory())


def tokens(world: World, step: str = "retained") -> list[str]:
    return [one.token for one in recall(world.context(), step)]


def test_a_token_outlives_the_process_and_is_in_the_clear_nowhere(tmp_path: Path) -> None:
    """What was kept is there after a restart, for its own flow and step only, and no file holds it readable."""
    first = world(tmp_path)
    assert outlives_process(first.context())
    assert retain(first.context(), "retained", TOKEN, NOW + 300)
    again = restarted(first, tmp_path)
    assert recall(again.context(), "retained") == (Retained(TOKEN, NOW, NOW + 300),)
    assert tokens(again, "reject") == []
    files = list((tmp_path / "state").iterdir())
    assert files
    assert all(TOKEN not in file.read_text() for file in files)
    assert TOKEN not in repr(recall(again.context(), "retained")) + repr(again.memory)


def test_another_secret_opens_nothing(tmp_path: Path) -> None:
    """Who has the state directory and not the secret it was sealed with starts anew, without a fault."""
    first = world(tmp_path)
    retain(first.context(), "retained", TOKEN, NOW + 300)
    first.state.flush()
    assert tokens(world(tmp_path, secret="another")) == []


def test_without_a_secret_tokens_live_as_long_as_the_process(tmp_path: Path) -> None:
    """A public client's token is kept in memory only, unless the step names a secret to seal it with."""
    first = world(tmp_path, secret=None)
    assert not outlives_process(first.context())
    retain(first.context(), "retained", TOKEN, NOW + 300)
    assert tokens(first) == [TOKEN]
    assert tokens(restarted(first, tmp_path)) == []
    (tmp_path / "seal").write_text("its own")
    seal = SecretRef(file=str(tmp_path / "seal"))
    retain(first.context(), "sealed", TOKEN, NOW + 300, seal_with=seal)
    assert recall(restarted(first, tmp_path).context(), "sealed", seal_with=seal)


def test_few_are_kept_and_none_for_ever(tmp_path: Path) -> None:
    """At most so many, so far apart, each once, and each gone when its grace after exp is over."""
    here = world(tmp_path, durable=False)
    assert retain(here.context(), "retained", "a", NOW + 300, apart=10)
    assert not retain(here.context(), "retained", "b", NOW + 300, apart=10)
    here.clock.now = NOW + 10
    assert not retain(here.context(), "retained", "a", NOW + 300, apart=10)
    assert retain(here.context(), "retained", "b", NOW + 20, apart=10, most=2)
    here.clock.now = NOW + 25
    assert [one.alive(here.clock.now) for one in recall(here.context(), "retained")] == [True, False]
    assert retain(here.context(), "retained", "c", NOW + 300, most=2, grace=60)
    assert tokens(here) == ["b", "c"]
    assert retain(here.context(), "retained", "d", NOW + 300, most=3)
    assert tokens(here) == ["c", "d"]
    spend(here.context(), "c")
    assert tokens(here) == ["d"]
    forget(here.context(), "retained", ["d"])
    assert tokens(here) == []


def test_a_damaged_store_is_an_empty_one(tmp_path: Path) -> None:
    """What was changed on disk is not opened, and costs the run nothing."""
    first = world(tmp_path)
    retain(first.context(), "retained", TOKEN, NOW + 300)
    first.state.flush()
    (file,) = (tmp_path / "state").iterdir()
    file.write_text('{"sealed": "QUFBQQ=="}')
    assert tokens(restarted(first, tmp_path)) == []

"""Keys over time: what of a rotation clients with cached keys survive, and what of it they do not."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from otelprobe.reasons import Reason
from otelprobe.result import Expiry, Fact, Warn
from otelprobe.state import State
from otelprobe.step import Done
from otelprobe.steps.keys import Keys
from otelprobe.steps.verify import Verify
from otelprobe.tokens import public_jwk
from tests.conftest import Answer, Server
from tests.token_kit import NOW, World, certificate, jwk, token

DAY = 86400.0


def publish(server: Server, *jwks: Any, cache: str | None = None) -> None:
    headers = [("Content-Type", "application/json"), *([("Cache-Control", cache)] if cache else [])]
    server.on("/jwks", Answer(200, json.dumps({"keys": list(jwks)}).encode(), headers))


def look(world: World, at: float = 0.0) -> Done:
    """Look at the key set so many seconds after the start."""
    world.clock.now = NOW + at
    return Keys().run(world.context())


def signed(world: World, keys: Done, kid: str, lifetime: float = 300.0) -> Done:
    """Verify a token that was signed just now with the key of this kid."""
    now = world.clock.now
    access = token(kid=kid, iat=now, exp=now + lifetime)
    return Verify(audience=("orders",)).run(world.context(*keys.makes, world.tokens(access)))


def unsafe(done: Done) -> list[str]:
    return [w.detail for w in done.warnings if w.reason is Reason.ROTATION_UNSAFE]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("public, max-age=600", 600.0),
        ('MAX-AGE="60"', 60.0),
        ("no-store", 0.0),
        ("max-age=600, no-cache", 0.0),
        ("private", None),
        ("max-age=-1", None),
        ("max-age=99999999999999", None),
        (None, None),
    ],
)
def test_the_time_that_caches_may_keep_the_set_is_a_fact(
    server: Server, header: str | None, seconds: float | None
) -> None:
    """Cache-Control is read as RFC 9111 has it, and what is no number of seconds is none."""
    publish(server, jwk(), cache=header)
    assert look(World(server.url)).facts.get(Fact.JWKS_CACHE_TIME) == seconds


def test_the_age_of_the_oldest_key_is_counted_from_the_first_look(server: Server, tmp_path: Path) -> None:
    """A key's age grows over restarts; the first look of all knows none."""
    world = World(server.url, state=State(tmp_path))
    publish(server, jwk(kid="a"))
    assert Fact.JWKS_KEY_AGE not in look(world).facts
    world.state.flush()
    world.state = State(tmp_path)
    publish(server, jwk(kid="a"), jwk(kid="b", which=1))
    assert look(world, 90 * DAY).facts[Fact.JWKS_KEY_AGE] == 90 * DAY
    publish(server, jwk(kid="b", which=1))
    assert look(world, 100 * DAY).facts[Fact.JWKS_KEY_AGE] == 10 * DAY


def test_a_rotation_with_a_long_overlap_is_nobodys_trouble(server: Server) -> None:
    """A new key that waits out the caches before it signs, beside an old one that waits out its tokens, warns of nothing."""
    world = World(server.url)
    publish(server, jwk(kid="a"), cache="max-age=60")
    signed(world, look(world), "a")
    publish(server, jwk(kid="a"), jwk(kid="b"), cache="max-age=60")
    told = unsafe(look(world, 100))
    told += unsafe(look(world, 200))
    told += unsafe(signed(world, look(world, 210), "b"))
    publish(server, jwk(kid="b"), cache="max-age=60")
    told += unsafe(done := look(world, 1000))
    assert [(c.change, c.kid) for c in done.key_changes] == [("removed", "a")]
    assert told == []


def test_too_short_an_overlap_is_told(server: Server) -> None:
    """A key that goes as its successor comes is warned of, where lifetime plus cache time is longer than the two were seen."""
    world = World(server.url)
    publish(server, jwk(kid="a"), cache="max-age=60")
    signed(world, look(world), "a")
    look(world, 300)
    publish(server, jwk(kid="b"), cache="max-age=60")
    (told,) = unsafe(look(world, 310))
    assert told == (
        "key a was published together with its successor for at most 10 s, but tokens live 300 s and caches may keep the"
        " key set 60 s"
    )


def test_a_key_that_goes_without_a_successor_had_no_overlap(server: Server) -> None:
    """Where no younger key was ever seen, nothing is said of an overlap."""
    world = World(server.url)
    publish(server, jwk(kid="a"), jwk(kid="b"), cache="max-age=60")
    signed(world, look(world), "a")
    publish(server, jwk(kid="b"), cache="max-age=60")
    assert unsafe(look(world, 310)) == []


def test_a_key_that_signs_at_once_is_told(server: Server) -> None:
    """Clients whose cached set lacks the new key refuse its tokens: told at its first token, and just then."""
    world = World(server.url)
    publish(server, jwk(kid="a"), cache="max-age=3600")
    signed(world, look(world), "a")
    publish(server, jwk(kid="a"), jwk(kid="b"), cache="max-age=3600")
    keys = look(world, 60)
    (told,) = unsafe(signed(world, keys, "b"))
    assert told == (
        "key b signs tokens at most 60 s after it was published, but Cache-Control lets clients keep the key set without"
        " it 3600 s"
    )
    assert unsafe(signed(world, keys, "b")) == []
    assert unsafe(signed(world, keys, "a")) == []


def test_keys_that_change_faster_than_caches_are_told(server: Server) -> None:
    """Two additions within the cache time mean that Cache-Control promises what rotation does not keep."""
    world = World(server.url)
    publish(server, jwk(kid="a"), cache="max-age=3600")
    look(world)
    publish(server, jwk(kid="a"), jwk(kid="b"), cache="max-age=3600")
    assert unsafe(look(world, 100)) == []
    publish(server, jwk(kid="a"), jwk(kid="b"), jwk(kid="c"), cache="max-age=3600")
    assert unsafe(look(world, 700)) == [
        "keys were added twice within 600 s, but Cache-Control lets clients keep the key set 3600 s"
    ]


def test_other_material_under_the_same_kid_is_told(server: Server) -> None:
    """A kid that is used again defeats every cache."""
    world = World(server.url)
    publish(server, jwk(kid="a"))
    look(world)
    publish(server, jwk(kid="a", which=1))
    assert unsafe(look(world, 60)) == ["key a has other material under the same kid: caches hold the old one"]


def test_a_weak_key_is_told_before_it_signs(server: Server) -> None:
    """An RSA key below 2048 bits is a warning at the key set already."""
    weak = public_jwk(rsa.generate_private_key(65537, 1024), kid="weak")
    publish(server, jwk(), weak)
    told = [w for w in look(World(server.url)).warnings if w.reason is Reason.KEY_UNUSABLE]
    assert [w.detail.startswith("weak key weak: ") for w in told] == [True]


def test_the_certificate_of_a_key_is_watched(server: Server) -> None:
    """The x5c that ends first is an expiry under the provider's name; those that end soon are warned of by kid."""
    publish(
        server,
        jwk(kid="a", x5c=[certificate(NOW + 400 * DAY)]),
        jwk(kid="b", x5c=[certificate(NOW + 10 * DAY)]),
        jwk(kid="c", x5c=[certificate(NOW - DAY)]),
        jwk(kid="d", x5c=["no certificate"]),
        jwk(kid="e", x5c="no list"),
    )
    done = look(World(server.url))
    assert done.expiries == (Expiry("jwks_certificate", "corp", -DAY),)
    assert [w for w in done.warnings if w.reason is Reason.CERTIFICATE_EXPIRING] == [
        Warn(Reason.CERTIFICATE_EXPIRING, "the certificate (x5c) of key c has ended"),
        Warn(Reason.CERTIFICATE_EXPIRING, "the certificate (x5c) of key b ends in 10 days"),
    ]


def test_a_state_directory_that_cannot_be_read_is_told_once(server: Server, tmp_path: Path) -> None:
    """A spoilt state file costs the history, not the run, and is told once in the life of a process."""
    (tmp_path / "jwks.corp.json").write_text("{ spoilt")
    world = World(server.url, state=State(tmp_path))
    publish(server, jwk())
    lost = [w for w in look(world).warnings if w.reason is Reason.STATE_LOST]
    assert [w.detail.endswith("cannot be read (JSONDecodeError); it is started anew") for w in lost] == [True]
    assert [w for w in look(world).warnings if w.reason is Reason.STATE_LOST] == []

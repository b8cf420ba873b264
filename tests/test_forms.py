"""Pages read, forms chosen and filled, one-time codes: what a log-in without a browser stands on."""

import pytest

from otelprobe.fields import SecretRef
from otelprobe.form_rules import FormRule, Login, choose
from otelprobe.forms import same_place
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.totp import totp
from otelprobe.webform import Form, encode, read_page

URL = "https://login.example.com/in/page?x=1"
ANN = Login(username="ann", password=SecretRef(env="PASSWORD"), totp=SecretRef(env="TOTP"), user_code="ABCD")
MEGABYTE = 1024 * 1024
CODE = "<form method=post><input name=otp inputmode=numeric><button>OK</button></form>"


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "pass word")
    monkeypatch.setenv("TOTP", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")


def only(text: str) -> Form:
    """Give the one form of a page."""
    (form,) = read_page(text, URL).forms
    return form


def sent(text: str, login: Login = ANN) -> list[tuple[str, str]] | None:
    """Give what is sent from a page, None if nothing is."""
    choice = choose(read_page(text, URL), login, 59.0)
    return None if choice is None else choice.pairs()


def test_a_form_is_sent_as_a_browser_would() -> None:
    """Hidden and ticked fields, the chosen option and text areas go along; unticked, disabled and nameless ones do not."""
    form = only(
        """<form action="../do?a=b" method=POST><input type=hidden name=csrf value="t&amp;1"><input name=plain>
        <input type=checkbox name=on checked><input type=checkbox name=off><input type=radio name=r value=1>
        <input type=radio name=r value=2 checked><input name=gone disabled value=1><input value=nameless>
        <select name=s><option value=1>one<option selected>two</select><select name=e></select>
        <textarea name=t>\nhello</textarea><input type=file name=f><input type=submit name=go value=Go></form>"""
    )
    assert (form.action, form.method) == ("https://login.example.com/do?a=b", "POST")
    assert form.pairs({}, form.buttons[0]) == [
        *[("csrf", "t&1"), ("plain", ""), ("on", "on"), ("r", "2"), ("s", "two"), ("t", "hello"), ("go", "Go")]
    ]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<form>", URL),
        ("<form action=''>", URL),
        ("<form action='?y=2'>", "https://login.example.com/in/page?y=2"),
        ("<base href='https://other.example/b/'><form action=c>", "https://other.example/b/c"),
        ("<form action='https://[broken'>", URL),
    ],
)
def test_where_a_form_is_sent(text: str, action: str) -> None:
    """The action is resolved against the page or its base; none at all, or one that cannot be read, means the page."""
    assert only(f"{text}<input name=a></form>").action == action


def test_fields_outside_a_form_that_name_it_are_its_own() -> None:
    """`form=` moves fields and buttons into another form (HTML, section 4.10.18.3)."""
    page = read_page("<form id=a></form><input name=x form=a><form id=b><input name=y form=a><button form=a>", URL)
    assert [[c.name for c in f.controls] for f in page.forms] == [["x", "y"], []]
    assert [len(f.buttons) for f in page.forms] == [1, 0]


def test_encodings() -> None:
    """GET replaces the query, POST is form-encoded, and multipart carries each field whole."""
    pairs = [("a", "1&2"), ("b", "ä")]
    assert encode(only("<form action=/s?old=1><input name=a></form>"), pairs)[:2] == (
        "https://login.example.com/s?a=1%262&b=%C3%A4",
        None,
    )
    assert encode(only("<form method=post></form>"), pairs)[1] == b"a=1%262&b=%C3%A4"
    _, body, media_type = encode(only("<form method=post enctype=multipart/form-data></form>"), [('q"\r\n', "1")])
    assert body is not None
    boundary = media_type.partition("boundary=")[2].encode()
    assert body.split(b"--" + boundary)[1:] == [
        b'\r\nContent-Disposition: form-data; name="q%22%0D%0A"\r\n\r\n1\r\n',
        b"--\r\n",
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("<a " * (MEGABYTE // 3), "<!--" * (MEGABYTE // 4), "</" * (MEGABYTE // 2), "<?" * (MEGABYTE // 2)),
        *("<form>" * (MEGABYTE // 6), "<div>" * (MEGABYTE // 5), "<a b='" * (MEGABYTE // 6), "<" * MEGABYTE),
        *("<button>" * (MEGABYTE // 8), "<input name=a>" * (MEGABYTE // 14), "", "\0", "<?xml version='1.0'?>"),
    ],
    ids=lambda text: text[:9] or "nothing",
)
def test_a_hostile_page_is_read_and_does_no_harm(text: str) -> None:
    """A megabyte over which slow parsers sit for minutes, and what is no page at all, raise nothing and come to an end."""
    read_page(text, URL)


LOGIN = "<form method=post><input type=hidden name=t value=1>{}<input type=password name=pw></form>"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (LOGIN.format("<input name=user>"), [("t", "1"), ("user", "ann"), ("pw", "pass word")]),
        (LOGIN.format("<input type=email name=q7>"), [("t", "1"), ("q7", "ann"), ("pw", "pass word")]),
        (LOGIN.format("<input name=strange>"), [("t", "1"), ("strange", "ann"), ("pw", "pass word")]),
        (LOGIN.format("<input name=username value=ann readonly>"), [("t", "1"), ("username", "ann"), ("pw", "pass word")]),
        (LOGIN.format("<input name=search><input name=x autocomplete=username>"),
         [("t", "1"), ("search", ""), ("x", "ann"), ("pw", "pass word")]),
        ("<form><input name=credentials[username]></form>", [("credentials[username]", "ann")]),
        (CODE, [("otp", "287082")]),
        ("<form><input type=password name=c autocomplete=one-time-code></form>", [("c", "287082")]),
        ("<form><input name=user_code value=></form>", [("user_code", "ABCD")]),
        ("<form method=post><input type=hidden name=prompt value=consent><button>Continue</button></form>",
         [("prompt", "consent")]),
        ("<form><input type=submit name=cancel value=No><input type=submit name=accept value=Yes></form>",
         [("accept", "Yes")]),
        ("<form><button name=a value=deny>Deny</button><button name=a value=ok>Weiter</button></form>", [("a", "ok")]),
        ("<form><button name=change_user>Change user name</button></form>", None),
        ("<form action=/logout><button>OK</button></form>", None),
        ("<form><input name=q type=search><button>Find</button></form>", None),
        ("<p>hello</p>", None),
    ],
)  # fmt: skip
def test_usual_forms_are_known_without_rules(text: str, values: list[tuple[str, str]] | None) -> None:
    """User name, password, one-time code, user code and consent are found by usual names; nothing else is sent."""
    assert sent(text) == values


def test_the_log_in_form_wins_over_others_of_its_page() -> None:
    """A search box, a language form and a consent to cookies beside the log-in are left alone."""
    others = "<form><input name=q></form><form><button>Accept cookies</button></form>"
    assert sent(f"{others}{LOGIN.format('<input name=user>')}{others}") == [
        ("t", "1"),
        ("user", "ann"),
        ("pw", "pass word"),
    ]


def test_rules_come_first_and_in_order() -> None:
    """The first rule whose fields a form has is used, with its button; secrets are read at that moment."""
    fields = "<input name=kd><input name=pn><input type=checkbox name=ok value=y>"
    page = f"<form>{fields}<button id=x>A</button><button name=b value=2>B</button></form>"
    rules = (
        FormRule(fields={"missing": "1"}),
        FormRule(fields={"kd": "bob", "pn": SecretRef(env="PASSWORD"), "ok": "y"}, submit="B"),
        FormRule(fields={"kd": "never"}),
    )
    assert sent(page, Login(forms=rules)) == [("kd", "bob"), ("pn", "pass word"), ("ok", "y"), ("b", "2")]
    assert sent(
        "<form><button name=n value=1>Nicht jetzt</button></form>", Login(forms=(FormRule(submit="Nicht jetzt"),))
    ) == [("n", "1")]


@pytest.mark.parametrize(
    ("text", "login", "reason"),
    [
        (LOGIN.format(""), Login(username="ann"), Reason.LOGIN_REQUIRED),
        ("<form><input name=login></form>", Login(), Reason.LOGIN_REQUIRED),
        (CODE, Login(username="ann"), Reason.MFA_CHALLENGE),
        ("<form><input type=password name=a><input type=password name=b></form>", ANN, Reason.LOGIN_REJECTED),
    ],
)
def test_what_is_asked_for_and_not_at_hand(text: str, login: Login, reason: Reason) -> None:
    """A page that asks for more than the step knows has a reason of its own."""
    with pytest.raises(CheckFailed) as caught:
        sent(text, login)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("url", "wanted", "same"),
    [
        ("https://a/cb?code=1", "https://a/cb", True),
        ("https://a/cb#code=1", "https://a/cb", True),
        ("https://a/cb?t=1&code=1", "https://a/cb?t=1", True),
        ("https://a/cb?code=1", "https://a/cb?t=1", False),
        ("https://a/cb2?code=1", "https://a/cb", False),
        ("https://a.evil/cb?code=1", "https://a/cb", False),
        ("http://a/cb?code=1", "https://a/cb", False),
        ("com.app:/cb?code=1", "com.app:/cb", True),
    ],
)
def test_the_redirect_uri_is_compared_exactly(url: str, wanted: str, same: bool) -> None:
    """Scheme, host, port and path to the letter; only what is added to the query or the fragment may differ."""
    assert same_place(url, wanted) is same


SHA1, SHA256, SHA512 = (
    ("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"),
    ("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA===="),
    ("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA="),
)


@pytest.mark.parametrize(
    ("secret", "now", "code"),
    [
        (f"otpauth://totp/x?secret={SHA1}&digits=8", 59, "94287082"),
        (f"otpauth://totp/x?secret={SHA256}&digits=8&algorithm=SHA256", 1111111109, "68084774"),
        (f"otpauth://totp/x?secret={SHA512}&digits=8&algorithm=SHA512", 20000000000, "47863826"),
        (SHA1, 1234567890, "005924"),
        ("gezd gnbv-gy3t qojq gezd gnbv gy3t qojq", 59, "287082"),
    ],
)
def test_codes_by_time(monkeypatch: pytest.MonkeyPatch, secret: str, now: float, code: str) -> None:
    """The vectors of RFC 6238, appendix B, and secrets as people copy them."""
    monkeypatch.setenv("TOTP", secret)
    assert totp(SecretRef(env="TOTP"), now) == code


@pytest.mark.parametrize(
    "secret",
    [
        "canary!",
        "1",
        "otpauth://hotp/x?secret=GEZDGNBV",
        "otpauth://totp/x?secret=GEZDGNBV&digits=x",
        "otpauth://totp/x",
    ],
)
def test_a_secret_that_is_none_is_ours(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """The configuration is to blame, and the text is not told."""
    monkeypatch.setenv("TOTP", secret)
    with pytest.raises(CheckFailed) as caught:
        totp(SecretRef(env="TOTP"), 0.0)
    assert caught.value.reason is Reason.CONFIG_ERROR
    assert secret not in str(caught.value)


def test_rules_are_checked_when_the_file_is_read() -> None:
    """A rule for nothing, and a secret written out, are told with their mend."""
    assert [member for member, _ in FormRule().faults()] == [""]
    ((member, mend),) = FormRule(fields={"user": "ann", "Password": "canary"}).faults()
    assert (member, "canary" in mend) == ("fields", False)
    assert "canary" not in repr(FormRule(fields={"Password": "canary"}))

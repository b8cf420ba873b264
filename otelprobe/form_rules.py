"""Which form of a page is sent in a log-in, and what is filled in: by the flow file's rules, else by usual names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field

from otelprobe.fields import SecretRef
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.totp import totp
from otelprobe.webform import Button, Control, Form, Page

_KINDS: Mapping[str, str] = {
    "password": "log-in form",
    "code": "form for the one-time code",
    "user_code": "form for the user code",
    "user": "form for the user name",
    "button": "form without fields to fill in",
}
"""Kinds of form in the order in which they win where a page has several, each with its words."""

_USER_NAMES = frozenset(
    {
        *("username", "user", "userid", "login", "loginname", "loginid", "loginfmt", "email", "emailaddress", "mail"),
        *("identifier", "account", "accountname", "uid", "signinname", "upn"),
    }
)
_CODE_NAMES = frozenset(
    {
        *("otp", "totp", "otc", "code", "onetimecode", "mfacode", "passcode", "verificationcode", "authcode"),
        *("otpcode", "totpcode", "securitycode", "twofactorcode", "2facode", "twofactor", "2fa", "mfa", "mfatoken"),
    }
)
_ENDINGS = ("username", "email", "userid", "identifier", "login")
_NO = re.compile(
    r"(?<![a-z])(?:cancel|deny|decline|reject|refuse|abort|no|not|back|change|later|skip|log-?out|sign-?out|register"
    r"|sign-?up|forgot|reset|switch|another|remove|delete)(?![a-z])",
    re.IGNORECASE,
)
_YES = re.compile(
    r"(?<![a-z])(?:accept|allow|approve|authori[sz]e|agree|yes|consent|confirm|continue|log-?in|sign-?in|next|submit"
    r"|verify)(?![a-z])",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"log-?out|sign-?out|register|sign-?up|locale|language|search|newsletter|cookie", re.IGNORECASE)
_SECRET_NAMES = re.compile(r"passw|pwd|secret|otp|(?<![a-z])pin(?![a-z])", re.IGNORECASE)
_BARE = re.compile(r"[^a-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FormRule:
    """How one form is filled in and sent: whichever has all these fields and that button, on whatever page."""

    fields: Mapping[str, str | SecretRef] = field(default_factory=dict, repr=False)
    """Name of a field to what is typed into it; secrets as `{env: NAME}` or `{file: PATH}`."""

    submit: str | None = None
    """The button to press, by its name, value, id or label; default: the one that goes on."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if not self.fields and self.submit is None:
            yield "", "a rule for a form needs fields, submit, or both"
        for name, value in self.fields.items():
            if isinstance(value, str) and _SECRET_NAMES.search(name):
                yield "fields", "a literal secret is refused: write {env: NAME} or {file: PATH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What is known of the person that logs in: rules for forms, and what fields of usual names are filled with."""

    forms: tuple[FormRule, ...] = ()
    username: str | None = None
    password: SecretRef | None = None
    totp: SecretRef | None = None
    user_code: str | None = field(default=None, repr=False)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that may be read on the way."""
        ruled = (value for rule in self.forms for value in rule.fields.values())
        return tuple(s for s in (self.password, self.totp, *ruled) if isinstance(s, SecretRef))

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if self.password is not None and self.username is None:
            yield "password", "a password without a user name: add username"


@dataclass(frozen=True, slots=True)
class Choice:
    """A form to be sent: `what` names it in messages; one that is asked for `once` was refused if it comes again."""

    what: str
    form: Form
    values: Mapping[str, str] = field(repr=False)
    button: Button | None
    once: bool = True

    def pairs(self) -> list[tuple[str, str]]:
        """Give what is sent."""
        return self.form.pairs(self.values, self.button)


def choose(page: Page, login: Login, now: float) -> Choice | None:
    """Give the form to send: the first that a rule is for, else a usual one; None if there is nothing to send.

    CheckFailed(login_required, mfa_challenge, login_rejected) if a form asks for what is not at hand.
    """
    ruled = next(_by_rule(page, login), None)
    if ruled is not None:
        return ruled
    by_kind = ((kind, form) for kind in _KINDS for form in page.forms if _kind(form) == kind)
    kind, form = next(by_kind, (None, None))
    if kind is None or form is None:
        return None
    return Choice(_KINDS[kind], form, _filled(form, login, now), _button(form), once=kind != "button")


def _by_rule(page: Page, login: Login) -> Iterator[Choice]:
    for number, rule in enumerate(login.forms, 1):
        for form in page.forms:
            button = _button(form) if rule.submit is None else _named_button(form, rule.submit)
            fits = rule.fields.keys() <= {c.name for c in form.controls}
            if fits and (rule.submit is None or button is not None):
                values = {name: v.read() if isinstance(v, SecretRef) else v for name, v in rule.fields.items()}
                yield Choice(f"form of rule {number}", form, values, button, once=bool(rule.fields))


def _named_button(form: Form, wanted: str) -> Button | None:
    exact = (b for b in form.buttons if wanted in {b.name, b.value, b.label, b.id})
    return next(exact, None)


def _button(form: Form) -> Button | None:
    """Give the button that goes on: one that says so, else the first that does not lead away."""
    onward = [b for b in form.buttons if not _NO.search(b.words)]
    return next((b for b in onward if _YES.search(b.words)), onward[0] if onward else None)


def _kind(form: Form) -> str | None:
    """Tell what a form asks for; None for one that is no part of a log-in."""
    roles = set(_roles(form).values())
    kind = next((kind for kind in _KINDS if kind in roles), None)
    if kind is not None or roles:
        return kind
    leads_away = bool(form.buttons) and _button(form) is None
    idle = not form.controls and not form.buttons
    return None if leads_away or idle or _ASIDE.search(form.words) else "button"


def _roles(form: Form) -> dict[str, str]:
    """Give what each field that is typed into is for; beside a password, the only other field is the user's name."""
    roles = {c.name: _role(c) for c in form.typed()}
    unknown = [name for name, role in roles.items() if role == "other"]
    if "password" in roles.values() and "user" not in roles.values() and len(unknown) == 1:
        roles[unknown[0]] = "user"
    return roles


def _role(control: Control) -> str:
    bare, hint = _BARE.sub("", control.name.lower()), control.hint.lower()
    if bare == "usercode":
        return "user_code"
    if bare in _CODE_NAMES or "one-time-code" in hint:
        return "code"
    if control.kind == "password":
        return "password"
    named = bare in _USER_NAMES or bare.endswith(_ENDINGS)
    return "user" if named or control.kind == "email" or "username" in hint else "other"


def _filled(form: Form, login: Login, now: float) -> dict[str, str]:
    """Give what is typed into the fields of usual names; what a field holds already stays where nothing is known."""
    roles = _roles(form)
    if list(roles.values()).count("password") > 1:
        raise CheckFailed(Reason.LOGIN_REJECTED, "the page asks for a new password: set one for this user by hand")
    present = {c.name: c.value for c in form.typed()}
    values: dict[str, str] = {}
    for name, role in roles.items():
        known = _known(role, login, now, optional=bool(present[name]))
        if known is not None:
            values[name] = known
    return values


def _known(role: str, login: Login, now: float, *, optional: bool) -> str | None:
    if role == "password":
        if login.password is None:
            raise _nobody("password", login)
        return login.password.read()
    if role == "code":
        if login.totp is None:
            raise CheckFailed(Reason.MFA_CHALLENGE, "the page asks for a one-time code, and the step has no totp")
        return totp(login.totp, now)
    if role == "user":
        if login.username is None and not optional:
            raise _nobody("username", login)
        return login.username
    return login.user_code if role == "user_code" else None


def _nobody(what: str, login: Login) -> CheckFailed:
    """Tell why a log-in form cannot be filled in: nobody was to log in, or the rules are for another form."""
    if login.forms:
        detail = f"none of the rules fits the log-in form, and the step has no {what} for it: has the form changed?"
        return CheckFailed(Reason.LOGIN_FORM_NOT_FOUND, detail)
    return CheckFailed(Reason.LOGIN_REQUIRED, f"the provider shows a log-in form, and the step has no {what}")

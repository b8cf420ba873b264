"""pint, the linter of PromQL and rules, at the version that the tests are written for."""

from tests.stack.harness.golang import Module

PINT = Module("pint", "github.com/cloudflare/pint", "v0.87.0", ("cmd/pint",))

"""Where bad tokens are made: nothing here is sent, and nothing that is made here should be accepted anywhere."""

from otelprobe.forging.jws import GARBAGE, MARK, UNKNOWN_KID, forge, resign, tamper, unsigned

__all__ = ["GARBAGE", "MARK", "UNKNOWN_KID", "forge", "resign", "tamper", "unsigned"]

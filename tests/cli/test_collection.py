"""The garbage collector, which start-up does without."""

import gc

from otelprobe.__main__ import main


def test_a_command_leaves_the_collector_as_it_found_it(capsys):
    """A caller's garbage collector is on again after a command, and stays off where it was off."""
    assert gc.isenabled()
    assert main(["explain", "dns_failure"]) == 0
    assert gc.isenabled()
    gc.disable()
    try:
        assert main(["explain", "dns_failure"]) == 0
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert "dns_failure" in capsys.readouterr().out

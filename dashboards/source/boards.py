"""Every board, in the order of the pages."""

from dashboards.source.board_credentials import credentials
from dashboards.source.board_flow import flow
from dashboards.source.board_overview import overview
from dashboards.source.board_prober import prober
from dashboards.source.board_security import security
from dashboards.source.frame import Board


def boards() -> tuple[Board, ...]:
    """Give every board."""
    return overview(), flow(), credentials(), security(), prober()

"""How one HTTP attempt travels: the route, the trust, the connection, the reading, and what its failures mean.

Only `otelprobe.http` uses this room. It imports requests, so `otelprobe.http` opens it when the first request is sent.
"""

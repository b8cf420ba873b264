"""The real servers of the stack tests: obtained once into an ignored cache, started on loopback, ended when done.

`python -m tests.stack.harness` obtains everything and says how long each part took; the fixtures of
`tests/stack/servers.py` obtain only what a test asks for. Nothing outside the cache and a test's own folder is written.
"""

"""What the benchmarks share: servers in processes of their own, the peer that is measured beside us, and the table."""

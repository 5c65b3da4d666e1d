"""The benchmarks that `python scripts/bench NAME` runs: a module each, over `harness`."""

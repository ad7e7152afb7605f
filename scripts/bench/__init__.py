"""The parts of `scripts/benchmark.py`: workloads, both sides of every case, timing, tables."""

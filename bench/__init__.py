"""Benchmarks against sandbox vendors on loopback: `make bench` prints tables and writes JSON to bench/results/."""

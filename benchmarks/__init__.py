"""Benchmarks of Corail storage; run from the root of the workspace, see README.md. Not installed."""

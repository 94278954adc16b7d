"""The parts of the demo, one module each; ``demo.py`` and ``demo_postgresql.py`` put them together."""

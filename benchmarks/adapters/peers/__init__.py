"""Libraries from PyPI that keep conversations in PostgreSQL, each in an environment of its own."""

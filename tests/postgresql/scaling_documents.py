"""The SQL of docs/scaling.md, for the tests that run it."""

from tests.docs.documents import ROOT, blocks


def documented_sql(word: str, schema: str) -> str:
    """Return the one block of SQL that holds a word, for the tables in ``schema``."""
    document = ROOT / "docs" / "scaling.md"
    (text,) = [block.text for block in blocks("sql") if block.document == document and word in block.text]
    return text.replace("agents.", f"{schema}.")

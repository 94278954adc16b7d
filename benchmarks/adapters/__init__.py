"""One module per library under test; each is imported only in the process that measures it."""

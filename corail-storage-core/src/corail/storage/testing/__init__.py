"""The contract kit: proves that a backend keeps the promises of ``StoragePort``.

::

    class TestMine(StorageContract):
        @pytest.fixture
        async def storage(self):
            async with MyStorage() as storage:
                yield storage

That is all for most backends. The settings are the attributes of ``ContractBase``; each test says in its
docstring what it demands and how to fix a failure. Needs the extra ``testing`` of corail-storage-core.
"""

try:
    # Only to say here, once, what is missing.
    import anyio as _anyio
    import hypothesis as _hypothesis
    import pytest
except ModuleNotFoundError as error:
    if error.name not in {"anyio", "hypothesis", "pytest"}:
        raise
    raise ModuleNotFoundError(
        f"corail.storage.testing needs {error.name}, which is not installed. "
        'Install the extra: pip install "corail-storage-core[testing]"',
        name=error.name,
    ) from error

del _anyio, _hypothesis

# Before they are imported: only then do failures show the values that were compared.
pytest.register_assert_rewrite(
    *(
        f"{__name__}._{name}"
        for name in (
            "append",
            "arguments",
            "batches",
            "cancellation",
            "conversations",
            "deletion",
            "guard",
            "lifecycle",
            "loops",
            "metadata",
            "pages",
            "processes",
            "reading",
            "stateful",
            "text",
        )
    )
)

from corail.storage.testing._clauses import CONTRACT  # noqa: E402 - rewritten from here on
from corail.storage.testing._contract import StorageContract  # noqa: E402 - likewise

__all__ = ["CONTRACT", "StorageContract"]

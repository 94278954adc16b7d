"""The error tree: what each error is caught as, how it crosses processes, and what it never is."""

import copy
import pickle
from pathlib import Path

import pytest

from corail.storage import errors
from corail.storage.errors import (
    AppendOutcomeUnknownError,
    InvalidInputError,
    StorageClosedError,
    StorageConfigurationError,
    StorageConflictError,
    StorageError,
    StorageLoadError,
    StorageNotInstalledError,
    StorageSchemaError,
    StorageTimeoutError,
    StorageUnavailableError,
    UnknownStorageError,
    UnsupportedOperationError,
)

# Every error with its parents, in order.
TREE: dict[type[StorageError], tuple[type[BaseException], ...]] = {
    StorageError: (Exception,),
    UnknownStorageError: (StorageError, ValueError),
    StorageNotInstalledError: (StorageError, ImportError),
    StorageLoadError: (StorageError, ImportError),
    StorageConflictError: (StorageError,),
    StorageConfigurationError: (StorageError, ValueError),
    InvalidInputError: (StorageError, ValueError),
    StorageUnavailableError: (StorageError, ConnectionError),
    StorageTimeoutError: (StorageUnavailableError, TimeoutError),
    AppendOutcomeUnknownError: (StorageError,),
    StorageSchemaError: (StorageError,),
    StorageClosedError: (StorageError, RuntimeError),
    UnsupportedOperationError: (StorageError, NotImplementedError),
}


def make(error: type[StorageError]) -> StorageError:
    if error is AppendOutcomeUnknownError:
        return AppendOutcomeUnknownError("what happened", idempotency_key="key")
    return error("what happened")


def test_the_tree_is_complete() -> None:
    public = {value for value in vars(errors).values() if isinstance(value, type)}
    assert public == set(TREE)
    assert set(errors.__all__) == {error.__name__ for error in TREE}


@pytest.mark.parametrize("error", TREE)
def test_parents_are_what_handlers_expect(error: type[StorageError]) -> None:
    assert error.__bases__ == TREE[error]
    # Before its built-in parents, so that `except StorageError` first is always meaningful.
    assert error.__mro__.index(StorageError) < error.__mro__.index(Exception)


@pytest.mark.parametrize("error", TREE)
def test_the_message_is_what_was_said(error: type[StorageError]) -> None:
    assert str(make(error)) == "what happened"
    assert make(error).args == ("what happened",)


@pytest.mark.parametrize("error", TREE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_crosses_processes(error: type[StorageError], protocol: int) -> None:
    restored = pickle.loads(pickle.dumps(make(error), protocol))  # noqa: S301 - made right here
    assert type(restored) is error
    assert str(restored) == "what happened"
    assert vars(restored) == vars(make(error))


@pytest.mark.parametrize("error", TREE)
def test_an_error_can_be_copied(error: type[StorageError]) -> None:
    for copied in (copy.copy(make(error)), copy.deepcopy(make(error))):
        assert type(copied) is error
        assert vars(copied) == vars(make(error))


def test_no_generic_retry_layer_repeats_an_append_that_may_be_stored() -> None:
    assert not issubclass(AppendOutcomeUnknownError, OSError | TimeoutError | ConnectionError)
    assert issubclass(StorageUnavailableError, OSError)
    assert issubclass(StorageTimeoutError, OSError)


def test_an_outcome_cannot_be_unknown_without_its_key() -> None:
    with pytest.raises(TypeError, match="idempotency_key"):
        AppendOutcomeUnknownError("what happened")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_the_drawing_on_top_of_the_module_names_every_error_and_its_parent() -> None:
    drawing = [
        line for line in (errors.__doc__ or "").splitlines() if "Error" in line and line.startswith("    ")
    ]
    assert len(drawing) == len(TREE)
    for error, parents in TREE.items():
        (line,) = [line for line in drawing if error.__name__ in line.replace("(", " ").split()]
        if len(parents) > 1:
            assert f"({parents[1].__name__})" in line


def test_the_module_imports_nothing() -> None:
    source = Path(errors.__file__).read_text("utf-8")
    assert not [line for line in source.splitlines() if line.startswith(("import ", "from "))]

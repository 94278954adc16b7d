"""Every error a storage raises, in one tree; nothing here imports anything.

::

    StorageError
    ├── UnknownStorageError (ValueError)             no backend of that name
    ├── StorageNotInstalledError (ImportError)       a known backend whose distribution is missing
    ├── StorageLoadError (ImportError)               a backend was found but cannot be used
    ├── StorageConflictError                         two distributions claim one name
    ├── StorageConfigurationError (ValueError)       a URL, variable or option is wrong
    ├── InvalidInputError (ValueError)               an argument breaks a limit of the contract
    ├── StorageUnavailableError (ConnectionError)    not reachable; the call did not take effect
    │   └── StorageTimeoutError (TimeoutError)       not in time; the call did not take effect
    ├── AppendOutcomeUnknownError                    stored or not: repeat it with its key
    ├── StorageSchemaError                           the tables are missing, foreign or too new
    ├── StorageClosedError (RuntimeError)            used after ``aclose()``
    └── UnsupportedOperationError (NotImplementedError)

Wrong argument *types* are plain ``TypeError`` (C-04). A driver's exception is only ever the
``__cause__``, and not even that where its text holds content (C-31).
"""

__all__ = [
    "AppendOutcomeUnknownError",
    "InvalidInputError",
    "StorageClosedError",
    "StorageConfigurationError",
    "StorageConflictError",
    "StorageError",
    "StorageLoadError",
    "StorageNotInstalledError",
    "StorageSchemaError",
    "StorageTimeoutError",
    "StorageUnavailableError",
    "UnknownStorageError",
    "UnsupportedOperationError",
]


class StorageError(Exception):
    """Base of everything a storage raises, beside the ``TypeError`` of C-04."""


class UnknownStorageError(StorageError, ValueError):
    """No backend of that name is registered or installed."""


class StorageNotInstalledError(StorageError, ImportError):
    """The name is known, but the code it stands for is not installed."""


class StorageLoadError(StorageError, ImportError):
    """The backend was found, but importing it failed or it is not a complete ``StoragePort``."""


class StorageConflictError(StorageError):
    """Two installed distributions claim the same name with different targets."""


class StorageConfigurationError(StorageError, ValueError):
    """A setting is missing or wrong: a URL, an environment variable, an option, a password."""


class InvalidInputError(StorageError, ValueError):
    """An argument of the right type breaks a limit of the contract; nothing was stored."""


class StorageUnavailableError(StorageError, ConnectionError):
    """The backend cannot be reached or refuses work; the call did not take effect, repeat at will."""


class StorageTimeoutError(StorageUnavailableError, TimeoutError):
    """The backend did not get to it in time; the call did not take effect, repeat at will."""


class AppendOutcomeUnknownError(StorageError):
    """The reply was lost: the messages may or may not have been stored.

    Not an ``OSError``, so that no generic retry layer repeats it blindly. Repeating it is safe in
    one way: ``append_messages(conversation_id, messages, idempotency_key=error.idempotency_key)``
    with the same messages stores them if they are missing and does nothing if they are there.

    Attributes:
        idempotency_key: the key under which the messages were, or were not, stored.

    """

    idempotency_key: str

    def __init__(self, message: str, *, idempotency_key: str) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call the class without its keyword, so it could not cross processes.
        return (_restore_unknown, (str(self), self.idempotency_key))


class StorageSchemaError(StorageError):
    """The tables are missing and may not be made, belong to somebody else, or are of another version."""


class StorageClosedError(StorageError, RuntimeError):
    """The storage was closed with ``aclose()``."""


class UnsupportedOperationError(StorageError, NotImplementedError):
    """The backend does not offer the operation; nothing was stored."""


def _restore_unknown(message: str, idempotency_key: str) -> AppendOutcomeUnknownError:
    return AppendOutcomeUnknownError(message, idempotency_key=idempotency_key)

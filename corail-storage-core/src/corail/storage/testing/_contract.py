"""``StorageContract``: all families of contract tests in one class."""

from corail.storage.testing._append import Append
from corail.storage.testing._arguments import Arguments
from corail.storage.testing._batches import Batches
from corail.storage.testing._cancellation import Cancellation
from corail.storage.testing._conversations import Conversations
from corail.storage.testing._deletion import Deletion
from corail.storage.testing._guard import Guard
from corail.storage.testing._lifecycle import Lifecycle
from corail.storage.testing._loops import Loops
from corail.storage.testing._metadata import Metadata
from corail.storage.testing._pages import Pages
from corail.storage.testing._processes import Processes
from corail.storage.testing._stateful import Model
from corail.storage.testing._text import Text


class StorageContract(
    Model,
    Processes,
    Lifecycle,
    Cancellation,
    Loops,
    Pages,
    Deletion,
    Batches,
    Append,
    Conversations,
    Metadata,
    Text,
    Arguments,
    Guard,
):
    """Every contract test. Subclass it, and give it an async fixture ``storage``.

    The fixture gives a ``StoragePort`` that works and may hold other conversations. Make it
    function-scoped unless ``reopen`` is set: some tests close what they are given.
    """

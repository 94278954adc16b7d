"""The decorator of every contract test: which clause it is, when it is skipped, how its failure reads.

Owns the registry of tests and the rules for capabilities, contract versions and known failures. Knows
nothing of what the tests do.
"""

import functools
import re
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, NamedTuple, NoReturn, ParamSpec, TypeGuard, TypeVar

import pytest

from corail.storage.capabilities import PERSISTENT
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._patience import bounded

CONTRACT: Final = (1, 0)
"""The contract version this kit tests."""


class Entry(NamedTuple):
    """A contract test as the kit defines it."""

    test: Callable[..., object]
    clause: str
    since: tuple[int, int]


TESTS: Final[dict[str, Entry]] = {}
"""Every contract test by name."""

# Promises of the port that have no number are named after their method.
METHODS: Final = (
    "append_messages",
    "get_recent_messages",
    "get_conversation",
    "page_conversations",
    "page_messages",
    "delete_conversation",
    "check",
    "aclose",
    "model",
    "guard",
)

_NUMBERED: Final = re.compile(r"test_c(\d\d)_")
_CLAUSE_OF_TEXT: Final = re.compile(r"(C-\d\d)\b")
_SHOWN: Final = 2_000
_NO_REOPEN: Final = "reopen is not given"

_Contract = TypeVar("_Contract", bound=ContractBase)
_Rest = ParamSpec("_Rest")
_Test = Callable[Concatenate[_Contract, _Rest], Coroutine[Any, Any, None]]

# Node id to outcome, by class and known failure.
_outcomes: Final = pytest.StashKey[dict[tuple[type, str], dict[str, str]]]()


def clause_of(test_name: str) -> str | None:
    """Return the clause a test belongs to (``C-10``, ``append_messages``), or None if it is not ours."""
    numbered = _NUMBERED.match(test_name)
    if numbered:
        return f"C-{numbered[1]}"
    return next((method for method in METHODS if test_name.startswith(f"test_{method}_")), None)


def clause(
    *needs: str, since: tuple[int, int] = (1, 0), reopens: bool = False, allowance: float | None = 1.0
) -> Callable[[_Test[_Contract, _Rest]], _Test[_Contract, _Rest]]:
    """Make a method a contract test; its clause is in its name.

    Args:
        needs: capabilities without which it is skipped.
        since: the contract version that added it.
        reopens: whether it needs a second object on the store.
        allowance: how many times ``patience`` it may take; None where each of its calls is bounded.

    """

    def decorate(test: _Test[_Contract, _Rest]) -> _Test[_Contract, _Rest]:
        name = test.__name__
        clause_id = clause_of(name)
        if name in TESTS or clause_id is None:
            raise TypeError(f"{name} is taken, or names no clause.")
        label = f"{clause_id} ({needs[0]})" if needs else clause_id

        async def run(self: _Contract, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> None:
            __tracebackhide__ = True
            reason = _why_skipped(self, kwargs.get("storage"), needs, since, reopens=reopens)
            if reason is not None:
                _skip(self, name, reason)
            failure = None
            try:
                with bounded(None if allowance is None else self.patience * allowance, label):
                    await test(self, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is shown under its clause
                failure = _labelled(label, error)
            _settle(self, name, failure)

        # Named and documented like the test; its signature is what pytest takes the fixtures from.
        functools.update_wrapper(run, test)
        TESTS[name] = Entry(run, clause_id, since)
        return run

    return decorate


def _why_skipped(
    contract: ContractBase, storage: object, needs: tuple[str, ...], since: tuple[int, int], *, reopens: bool
) -> str | None:
    if since > contract.contract:
        return f"new in contract {since[0]}.{since[1]}"
    if not isinstance(storage, StoragePort):
        raise AssertionError(  # noqa: TRY004 - a failure of the kit, not of a caller
            f"guard: the fixture 'storage' gave a {type(storage).__name__}; it must give a StoragePort."
        )
    for need in needs:
        if need not in storage.capabilities:
            return need
    if reopens and contract.reopen is None and PERSISTENT not in storage.capabilities:
        return _NO_REOPEN
    # A persistent backend without reopen is told so by _reopening, as a failure.
    return None


def _labelled(label: str, error: Exception) -> AssertionError:
    while _is_group(error):
        error = next(
            (leaf for leaf in error.exceptions if isinstance(leaf, AssertionError)), error.exceptions[0]
        )
    if not isinstance(error, AssertionError):
        text = f"{label}: unexpected {type(error).__name__}: {str(error)[:_SHOWN]}"
        failure = AssertionError(text)
        failure.__cause__ = error
        return failure
    if not _names_clause(str(error)):
        # In place: pytest then shows the line of the test, and both values below the label.
        error.args = (f"{label}: {error}",)
    return error


def _is_group(error: Exception) -> TypeGuard[ExceptionGroup[Exception]]:
    return isinstance(error, ExceptionGroup)


def _names_clause(text: str) -> bool:
    return _CLAUSE_OF_TEXT.match(text) is not None or text.split(" ", 1)[0].rstrip(":") in METHODS


def _skip(contract: ContractBase, name: str, reason: str) -> NoReturn:
    for key in _known_failures(contract, name, ""):
        _record(contract, key, "skipped")
    pytest.skip(reason)


def _settle(contract: ContractBase, name: str, failure: AssertionError | None) -> None:
    __tracebackhide__ = True
    known = _known_failures(contract, name, "" if failure is None else str(failure))
    for key in known:
        _record(contract, key, "passed" if failure is None else "failed")
    if failure is None:
        return
    if known:
        pytest.xfail(f"{known[0]}: {contract.xfails[known[0]]}")
    raise failure


def _known_failures(contract: ContractBase, name: str, failure: str) -> list[str]:
    # A failure of the state machine names the clause itself.
    named = _CLAUSE_OF_TEXT.match(failure)
    candidates = (name, clause_of(name), named[1] if named else None)
    return [key for key in dict.fromkeys(candidates) if key is not None and key in contract.xfails]


def _record(contract: ContractBase, key: str, outcome: str) -> None:
    __tracebackhide__ = True
    request = contract.request
    outcomes = request.config.stash.setdefault(_outcomes, {}).setdefault((type(contract), key), {})
    outcomes[request.node.nodeid] = outcome
    if "failed" in outcomes.values() or "passed" not in outcomes.values():
        return
    wanted = {test for test, entry in TESTS.items() if key in (test, entry.clause)}
    items = [
        item
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.cls is type(contract) and item.originalname in wanted
    ]
    # Judged once every test of the clause has run: not under -k, nor where xdist has split the class.
    if {item.originalname for item in items} == wanted and {item.nodeid for item in items} <= set(outcomes):
        raise AssertionError(
            f"{key}: declared in xfails ({contract.xfails[key]}), but all of its tests pass. "
            "Remove the entry, so that a relapse is noticed."
        )

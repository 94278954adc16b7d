# ruff: noqa: S101 - contract tests are built on assert
"""The guard: no contract test is missing, replaced or run on a split loop, and every claim is a known one.

What an author declares (``overrides``, ``xfails``, ``contract``, ``capabilities``, ``reopen``) is checked
here; the tests themselves are elsewhere.
"""

from typing import Final

import pytest

from corail.storage.capabilities import ALL, PERSISTENT
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import CONTRACT, TESTS, clause, clause_of
from corail.storage.testing._reading import contents, fresh, reopened

_FIXTURE: Final = "_contract"


class Guard(ContractBase):
    """Refuses what would make a green run mean less than it says."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # The kit's own classes define the tests; an author's class must not.
        if not cls.__module__.startswith("corail.storage.testing."):
            problems = declaration_problems(cls)
            if problems:
                raise TypeError(f"{cls.__name__}: " + "\n".join(problems))

    @pytest.fixture(autouse=True)
    def _contract(self, request: pytest.FixtureRequest) -> None:
        self.request = request
        problem = loop_problem(request.config, type(self))
        if problem is not None:
            pytest.fail(problem, pytrace=False)

    @clause()
    async def test_guard_no_test_is_missing_or_replaced(self, storage: StoragePort) -> None:
        """Every contract test runs as the kit defines it.

        Fix: declare what fails in ``xfails``, what must be replaced in ``overrides``, with a reason.
        """
        assert storage is not None
        problems = declaration_problems(type(self))
        assert not problems, "\n".join(problems)
        if self.overrides:
            shown = "; ".join(f"{name} ({reason})" for name, reason in sorted(self.overrides.items()))
            pytest.skip(f"undecided by the kit: replaced by the author: {shown}")

    @clause()
    async def test_guard_capabilities_are_known(self, storage: StoragePort) -> None:
        """``capabilities`` is a frozenset of names from ``corail.storage.capabilities``.

        Fix: use the constants; a misspelt promise would be skipped for ever.
        """
        assert isinstance(storage, StoragePort), "the fixture 'storage' gives no StoragePort"
        assert isinstance(storage.capabilities, frozenset), "capabilities must be a frozenset"
        unknown = sorted(map(repr, storage.capabilities - ALL))
        assert not unknown, f"unknown capabilities {', '.join(unknown)}; there are {', '.join(sorted(ALL))}"

    @clause()
    async def test_guard_reopen_gives_another_object_on_the_same_store(self, storage: StoragePort) -> None:
        """``reopen`` is there where it is needed, and what it opens is the fixture's store.

        Fix: let the fixture and ``reopen`` use the same URL, file or name.
        """
        if self.reopen is None and PERSISTENT not in storage.capabilities:
            return
        conversation = fresh("guard")
        await storage.append_message(conversation, "user", "text")
        second = reopened(self)
        assert second is not storage, "reopen() returned the object of the fixture; it must make a new one"
        assert second.capabilities == storage.capabilities, (
            "reopen() makes a storage that promises other things"
        )
        async with second:
            found = await contents(second, conversation)
        assert found == ["text"], "reopen() opened another store than the fixture 'storage' uses"
        assert await contents(storage, conversation) == ["text"], (
            "closing what reopen() made closed the fixture"
        )


def declaration_problems(contract: type[ContractBase]) -> list[str]:
    """Return what is wrong with a test class, each with its remedy."""
    # Without a readable version the tests cannot be told apart.
    return _version(contract.contract) or [*_tests(contract), *_reasons(contract)]


def loop_problem(config: pytest.Config, contract: type[ContractBase]) -> str | None:
    """Return why tests and fixtures would not share a loop, with the remedy, or None."""
    plugins = config.pluginmanager
    if not plugins.has_plugin("anyio"):
        return (
            "guard: the kit runs on anyio's pytest plugin, which is disabled. Remove '-p no:anyio' (or set "
            "PYTEST_PLUGINS=anyio.pytest_plugin where plugin autoload is off)."
        )
    if plugins.has_plugin("asyncio") and _asyncio_mode(config) == "auto":
        return (
            "guard: pytest-asyncio is in auto mode: it would run the fixture 'storage' in another event loop "
            'than anyio runs the tests in. Set asyncio_mode = "strict" in the settings of pytest, and define '
            "the fixture with @pytest.fixture."
        )
    fixture: object = getattr(contract, "storage", None)
    # Set by pytest_asyncio.fixture on the function that pytest has wrapped.
    if getattr(getattr(fixture, "__wrapped__", fixture), "_force_asyncio_fixture", False):
        return (
            "guard: the fixture 'storage' is a pytest_asyncio.fixture: it would run in another event loop "
            "than the tests. Define it with @pytest.fixture; anyio runs it."
        )
    return None


def _asyncio_mode(config: pytest.Config) -> str:
    option: object = config.getoption("asyncio_mode", default=None)
    try:
        return str(option or config.getini("asyncio_mode"))
    except (KeyError, ValueError):
        return ""


def _tests(contract: type[ContractBase]) -> list[str]:
    # What a later contract added is skipped for this class: its names are no concern of it either.
    current = {name: entry for name, entry in TESTS.items() if entry.since <= contract.contract}
    missing = [name for name, entry in current.items() if _definition(contract, name) is not entry.test]
    problems = [
        f"guard: {name} is the kit's and was replaced or removed. Declare a known failure in xfails = "
        f'{{"{clause_of(name)}": "reason"}}, or what must differ in overrides = {{"{name}": "reason"}}.'
        for name in missing
        if name not in contract.overrides
    ]
    problems += [
        f"guard: overrides names {name}, which the class does not replace. Remove the entry."
        for name in contract.overrides
        if name not in missing
    ]
    ours = {entry.clause for entry in current.values()}
    problems += [
        f"guard: {name} is named like a test of the kit, which may get one of that name. Rename it."
        for name in sorted({name for kind in contract.__mro__ for name in vars(kind)} - TESTS.keys())
        if (name.startswith("test_c") and clause_of(name)) or clause_of(name) in ours
    ]
    if _definition(contract, _FIXTURE) is not vars(Guard)[_FIXTURE]:
        problems.append(f"guard: {_FIXTURE} is the kit's fixture. Rename yours.")
    return problems


def _definition(contract: type, name: str) -> object:
    return next((vars(kind)[name] for kind in contract.__mro__ if name in vars(kind)), None)


def _version(version: object) -> list[str]:
    match version:
        case (int(), int()) if isinstance(version, tuple):
            if version > CONTRACT:
                return [
                    f"guard: contract is {version}, this kit tests {CONTRACT}. Upgrade corail-storage-core."
                ]
            return []
        case _:
            return [f"guard: contract is {version!r}; write it as contract = {CONTRACT}."]


def _reasons(contract: type[ContractBase]) -> list[str]:
    clauses = sorted({entry.clause for entry in TESTS.values()})
    problems = [
        f"guard: xfails names {key!r}, which is neither a test nor one of the clauses {', '.join(clauses)}."
        for key in contract.xfails
        if key not in TESTS and key not in clauses
    ]
    for what, reasons in (("xfails", contract.xfails), ("overrides", contract.overrides)):
        problems += [
            f"guard: {what}[{key!r}] has no reason. Say why."
            for key, reason in reasons.items()
            if not str(reason).strip()
        ]
    return problems

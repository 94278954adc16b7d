"""Backends of third parties, as wheels: good ones, and everything that can be wrong with one."""

from pathlib import Path

import pytest

from tests.backend_source import complete_backend
from tests.packaging.conftest import MakeEnvironment
from tests.packaging.environments import FACTORY, Environment
from tests.packaging.wheels import third_party

COMPLETE = complete_backend("Storage")

# Leaves a file beside itself: whoever imports it is found out.
TELLTALE = "from pathlib import Path\nPath(__file__).with_suffix('.imported').touch()\n"

# Name of the backend to what its one module holds.
MODULES = {
    "good": TELLTALE + COMPLETE,
    "broken": TELLTALE + "import corail_gone_driver\n",
    "raising": TELLTALE + "raise RuntimeError('boom')\n",
    "missing": TELLTALE + COMPLETE.replace("Storage(", "Other("),
    "abstract": TELLTALE
    + COMPLETE.replace("update_title", "retitle").replace("get_messages", "fetch_messages"),
    "plain": TELLTALE + "class Storage: ...\n",
    "function": TELLTALE + "def Storage(): ...\n",
}
BAD_VALUES = {"nocolon": "corail_storage_good", "spaced": "corail storage:Storage", "empty": ":"}


@pytest.fixture(scope="module")
def plugins(make_environment: MakeEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One environment with all of them at once, so that each also shows that it harms no other."""
    environment = make_environment("corail-storage-memory")
    folder = tmp_path_factory.mktemp("third parties")

    def publish(distribution: str, entries: dict[str, str], modules: dict[str, str] | None = None) -> None:
        third_party(
            distribution, environment.wheelhouse, folder, entries=entries, modules=modules, version="2.5"
        )
        names.append(distribution)

    names: list[str] = []
    everyone = {name: f"corail_storage_{name}:Storage" for name in MODULES}
    sources = {f"corail_storage_{name}/__init__.py": source for name, source in MODULES.items()}
    publish("corail-storage-many", everyone, sources)
    publish("corail-storage-gone", {"gone": "corail_storage_gone:Storage"})
    publish("corail-storage-malformed", BAD_VALUES)
    # The same target twice is no conflict, another target is, and a first-party name cannot be had.
    claims = {"alias": "corail_storage_good:Storage", "twice": "corail_storage_good:Storage"}
    publish("corail-storage-first", claims)
    claims["twice"] = "corail_storage_second:Storage"
    publish(
        "corail-storage-second",
        {**claims, "memory": "corail_storage_second:Storage"},
        {"corail_storage_second.py": TELLTALE + COMPLETE},
    )
    environment.install(*names)
    return environment


def imported(environment: Environment) -> list[str]:
    """Which backends were imported since they were last asked for; forgets it."""
    telltales = [*environment.site_packages.glob("corail_storage_*/__init__.imported")]
    telltales += environment.site_packages.glob("corail_storage_*.imported")
    for telltale in telltales:
        telltale.unlink()
    return sorted(
        (t.parent if t.stem == "__init__" else t).stem.removeprefix("corail_storage_") for t in telltales
    )


def test_whatever_looks_installed_is_listed_and_nothing_is_imported(plugins: Environment) -> None:
    imported(plugins)
    expected = {*MODULES, "alias", "gone", "memory", "twice"}
    assert plugins.available() == sorted(expected)
    assert {*expected, *BAD_VALUES, "postgresql"} == {
        row["name"] for row in plugins.answer(f"{FACTORY}answer = StorageFactory.describe()")
    }
    assert imported(plugins) == []


def test_a_good_one_works_and_only_it_is_imported(plugins: Environment) -> None:
    imported(plugins)
    code = f"{FACTORY}answer = type(StorageFactory.create('good')).__module__"
    assert plugins.answer(code) == "corail_storage_good"
    assert imported(plugins) == ["good"]
    assert plugins.answer(f"{FACTORY}answer = type(StorageFactory.create()).__module__").startswith("corail.")
    assert imported(plugins) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "importing it failed: No module named 'corail_gone_driver'"),
        ("raising", "importing it failed: RuntimeError: boom"),
        ("missing", "module corail_storage_missing has no Storage"),
        ("abstract", "it does not implement get_messages, update_title"),
        ("plain", "it is not a subclass of StoragePort"),
        ("function", "it is a function, not a class"),
    ],
)
def test_one_that_cannot_be_used_says_why_and_where_it_came_from(
    plugins: Environment, name: str, said: str
) -> None:
    kind, message = plugins.refusal(name)
    assert kind == "StorageLoadError"
    assert said in message
    assert f"entry point {name} = corail_storage_{name}:Storage of corail-storage-many 2.5" in message


def test_one_whose_module_is_not_shipped_is_not_called_unknown(plugins: Environment) -> None:
    kind, message = plugins.refusal("gone")
    assert kind == "StorageLoadError"
    assert "corail-storage-gone 2.5" in message


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_malformed_entry_is_not_listed_but_shown(plugins: Environment, name: str) -> None:
    row = plugins.description(name)
    assert (row["target"], row["installed"]) == (None, False)
    assert row["malformed"] == [f"{BAD_VALUES[name]!r} of corail-storage-malformed 2.5"]
    kind, message = plugins.refusal(name)
    assert kind == "StorageLoadError"
    assert "is malformed" in message
    assert "corail-storage-malformed 2.5" in message


def test_the_same_target_twice_is_no_conflict(plugins: Environment) -> None:
    row = plugins.description("alias")
    assert (row["target"], row["conflicts"]) == ("corail_storage_good:Storage", [])
    assert plugins.refusal("alias") == ("nothing", "")


def test_two_targets_are_listed_once_and_refused_until_somebody_chooses(plugins: Environment) -> None:
    assert plugins.available().count("twice") == 1
    row = plugins.description("twice")
    claims = [
        "corail_storage_good:Storage of corail-storage-first 2.5",
        "corail_storage_second:Storage of corail-storage-second 2.5",
    ]
    assert (row["target"], sorted(row["conflicts"])) == (None, claims)
    kind, message = plugins.refusal("twice")
    assert kind == "StorageConflictError"
    assert all(claim in message for claim in claims)
    code = (
        f"{FACTORY}from corail.storage.factory import register_storage\n"
        "register_storage('twice', 'corail_storage_second', 'Storage')\n"
        "answer = type(StorageFactory.create('twice')).__module__"
    )
    assert plugins.answer(code) == "corail_storage_second"


def test_a_first_party_name_cannot_be_taken_over_and_the_attempt_is_shown(plugins: Environment) -> None:
    imported(plugins)
    code = f"{FACTORY}answer = type(StorageFactory.create('memory')).__name__"
    assert plugins.answer(code) == "MemoryStorage"
    assert imported(plugins) == []
    row = plugins.description("memory")
    assert row["distribution"] == "corail-storage-memory"
    assert row["conflicts"] == ["corail_storage_second:Storage of corail-storage-second 2.5"]


def test_a_deployment_chooses_one_by_its_variable(plugins: Environment) -> None:
    code = f"{FACTORY}answer = type(StorageFactory.create()).__module__"
    for value in ("good", " GOOD ", "corail_storage_good:Storage"):
        assert plugins.answer(code, {"CORAIL_STORAGE": value}) == "corail_storage_good"


def test_a_line_that_is_no_entry_hides_no_other_distribution(
    make_environment: MakeEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = make_environment("corail-storage-memory")
    folder = tmp_path_factory.mktemp("third party")
    module = {"corail_storage_half.py": COMPLETE}
    third_party(
        "corail-storage-half",
        environment.wheelhouse,
        folder,
        entries={"half": "corail_storage_half:Storage"},
        modules=module,
    )
    environment.install("corail-storage-half")
    # No build backend writes such a file, an editor or a broken disk does.
    (entry_points,) = environment.site_packages.glob("corail_storage_half-*.dist-info/entry_points.txt")
    damaged = entry_points.read_text("utf-8") + "a line without an equals sign\n"
    Path(entry_points).write_text(damaged, "utf-8")
    assert environment.available() == ["half", "memory"]
    row = environment.description("a line without an equals sign")
    assert row["malformed"] == ["'' of corail-storage-half 1.0"]
    code = f"{FACTORY}answer = type(StorageFactory.create('half')).__module__"
    assert environment.answer(code) == "corail_storage_half"

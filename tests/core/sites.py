"""A folder of fake installed distributions, as pip would leave them."""

from collections.abc import Mapping
from importlib import invalidate_caches
from pathlib import Path

from tests.backend_source import complete_backend


class Site:
    """A folder on ``sys.path`` into which tests install modules and distribution metadata."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def module(self, name: str, source: str) -> str:
        """Write a module (packages on the way as namespaces) and return its name."""
        path = self.folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, "utf-8")
        invalidate_caches()
        return name

    def backend(self, module: str, class_name: str = "Backend") -> str:
        """Write a module with a complete backend and return ``module:Class``."""
        return f"{self.module(module, complete_backend(class_name))}:{class_name}"

    def distribution(
        self,
        name: str,
        entries: Mapping[str, str] | str,
        *,
        version: str = "1.0",
        group: str = "corail.storage",
    ) -> None:
        """Write what pip leaves of an installed distribution; ``entries`` as text is written as it is."""
        metadata = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8"
        )
        lines = (
            entries
            if isinstance(entries, str)
            else "".join(f"{name} = {value}\n" for name, value in entries.items())
        )
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{lines}", "utf-8")
        invalidate_caches()

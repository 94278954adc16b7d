"""Makes the modules of ``examples/`` importable, as they are for the demos themselves."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

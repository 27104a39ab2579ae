import os
from pathlib import Path

import pytest

REAL_DATA = os.environ.get("FEDSIEVE_DATA")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty cache and an empty data folder, so that none writes where the user's own lie."""
    monkeypatch.setenv("FEDSIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FEDSIEVE_DATA", str(tmp_path / "raw"))
    return tmp_path


@pytest.fixture
def real_data(folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point FEDSIEVE_DATA at the real data again; without them skip, and fail in CI."""
    if not REAL_DATA:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("FEDSIEVE_DATA is not set: no real data")
    monkeypatch.setenv("FEDSIEVE_DATA", REAL_DATA)
    return Path(REAL_DATA)

"""No test finds what another one has imported or put on the path."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("value", [1, 2, 3])
def test_modules_of_one_name_in_two_tests_folders_are_two(value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert not any(entry.startswith(str(tmp_path.parent)) for entry in sys.path)
    assert "of_one_name" not in sys.modules
    monkeypatch.chdir(tmp_path)
    for folder in ("package_of_one_name", "space_of_one_name"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "inner.py").write_text(f"content = {value}")
    (tmp_path / "of_one_name.py").write_text(f"content = {value}")
    (tmp_path / "package_of_one_name" / "__init__.py").write_text("")
    sys.path.append(str(tmp_path))
    for name in ("of_one_name", "package_of_one_name.inner", "space_of_one_name.inner"):
        module = importlib.import_module(name)
        assert module.content == value

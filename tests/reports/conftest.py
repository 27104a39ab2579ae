from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A made-up run of two rounds and 300 clients, whose names are as nasty as they can be."""
    from tests.reports.made_up import write_run

    return write_run(tmp_path / "made-up", clients=300)

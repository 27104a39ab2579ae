from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.common.config import get_fused_config_from_dir

from fedsieve.algorithms import algorithm_names
from fedsieve.config import parse
from fedsieve.deploy.submit import write_app
from tests.helpers import config


@pytest.mark.parametrize("algorithm", algorithm_names())
def test_the_nodes_read_the_configuration_that_was_submitted(algorithm: str, tmp_path: Path):
    run = config(algorithm=algorithm, dataset="digits", num_clients=4, lr=0.003, out=str(tmp_path / "a folder"))
    write_app(tmp_path, run)
    assert build_fab_from_disk(tmp_path)
    assert parse(get_fused_config_from_dir(tmp_path, {})) == run

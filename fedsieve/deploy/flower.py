"""Flower's own command line, `flwr`, asked for JSON."""

import json
import subprocess
from typing import Any

from fedsieve.deploy.certificates import check_certificates
from fedsieve.deploy.layout import BIN, CONNECTION, Layout
from fedsieve.deploy.programs import QUIET, environment
from fedsieve.errors import RunFailedError, one_line

PATIENCE = 60.0
"""Seconds for an answer."""


def flwr(layout: Layout, *words: str) -> dict[str, Any]:
    """Run `flwr WORDS CONNECTION --format json` and return what it says.

    Raises:
        UserError: the deployment's certificates are of no use.
        RunFailedError: the SuperLink is not there or refuses; its own words.
    """
    command = [str(BIN / "flwr"), *words, CONNECTION, "--format", "json"]
    try:
        ran = subprocess.run(
            command, env=flwr_environment(layout), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailedError(f"flwr {words[0]}: the SuperLink has not answered in {PATIENCE:g} seconds.") from error
    try:
        said = json.loads(ran.stdout)
    except ValueError:
        said = {"success": False, "error-message": ran.stderr or ran.stdout}
    if not isinstance(said, dict) or not said.get("success"):
        check_certificates(layout.keys)
    if not isinstance(said, dict) or not said.get("success"):
        reason = str(said.get("error-message", "")) if isinstance(said, dict) else str(said)
        raise RunFailedError(f"flwr {words[0]}: {one_line(RuntimeError(reason))}.")
    return said


def flwr_environment(layout: Layout) -> dict[str, str]:
    """Return the environment in which `flwr` finds this deployment."""
    return environment({"FLWR_HOME": str(layout.flower.absolute()), "NO_COLOR": "1"} | QUIET)

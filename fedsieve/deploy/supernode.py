"""A SuperNode whose ClientApps start warm: `python -m fedsieve.deploy.supernode`, arguments as of flower-supernode.

With FEDSIEVE_COLD in the environment they start as Flower has it, in a new interpreter for each message.
"""

import os
import sys
from pathlib import Path

from fedsieve.deploy.layout import BIN

PATH = Path(__file__).parent / "path"
"""Holds what a SuperNode finds in place of Flower's program for a ClientApp."""


def main() -> None:
    """Become `flower-supernode`, its path changed."""
    warm = () if os.environ.get("FEDSIEVE_COLD") else (str(PATH),)
    path = os.pathsep.join((*warm, str(BIN), os.environ.get("PATH", os.defpath)))
    program = str(BIN / "flower-supernode")
    os.execve(program, [program, *sys.argv[1:]], os.environ | {"PATH": path})


if __name__ == "__main__":
    main()

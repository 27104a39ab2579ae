"""A SuperExec whose ServerApps start warm: `python -m fedsieve.deploy.superexec`, arguments as of flower-superexec.

With FEDSIEVE_COLD in the environment they start as Flower has it, in a new interpreter for each run.
"""

import os
import sys

from fedsieve.deploy.layout import BIN, warm_path
from fedsieve.deploy.local_only import exempt_local_from_proxy


def main() -> None:
    """Become `flower-superexec`, its path changed."""
    program = str(BIN / "flower-superexec")
    os.execve(program, [program, *sys.argv[1:]], exempt_local_from_proxy(os.environ) | {"PATH": warm_path(os.environ)})


if __name__ == "__main__":
    main()

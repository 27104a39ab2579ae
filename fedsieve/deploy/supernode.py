"""A SuperNode whose ClientApps start warm: `python -m fedsieve.deploy.supernode`, arguments as of flower-supernode.

With FEDSIEVE_COLD in the environment they start as Flower has it, in a new interpreter for each message.
"""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from fedsieve.deploy.certificates import check_server
from fedsieve.deploy.layout import BIN, warm_path
from fedsieve.deploy.local_only import exempt_local_from_proxy
from fedsieve.errors import UserError


def main() -> None:
    """Become `flower-supernode`, its path changed; a server whose certificate is not to be trusted ends this with 1."""
    try:
        check(sys.argv[1:])
    except UserError as error:
        sys.exit(f"fedsieve: {error}")
    program = str(BIN / "flower-supernode")
    os.execve(program, [program, *sys.argv[1:]], exempt_local_from_proxy(os.environ) | {"PATH": warm_path(os.environ)})


def check(arguments: Sequence[str]) -> None:
    """Raise a `UserError` if the server that the arguments name shows a certificate that is not to be trusted."""
    given = dict(pairwise(arguments))
    if "--superlink" in given and "--root-certificates" in given:
        check_server(given["--superlink"], Path(given["--root-certificates"]))


if __name__ == "__main__":
    main()

"""`python -m cnnlab`: the command line, which imports nothing from the current folder."""

import sys

if not sys.flags.safe_path:
    # `python -m` puts the current folder first, which may hold somebody else's `yaml.py`. The
    # folder of this package, which may be the same one, comes last: workers import from it too.
    sys.path[0:1] = []
    sys.path.append(__file__.rpartition("/cnnlab/")[0])

from cnnlab.cli import main

if __name__ == "__main__":
    main()

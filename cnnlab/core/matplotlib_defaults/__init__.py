"""Import matplotlib with its default settings.

At its import matplotlib reads a file `matplotlibrc` in the current folder, which may be a folder
with files from somebody else, or in the user's home. Here it finds the one beside this file. This
is imported before matplotlib, or what imports it.
"""

from contextlib import chdir
from pathlib import Path

with chdir(Path(__file__).parent):
    import matplotlib  # noqa: F401

from cnnlab.cli.entry_point import main

__all__ = ["main"]

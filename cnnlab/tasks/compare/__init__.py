from cnnlab.tasks.compare.command import run

__all__ = ["run"]

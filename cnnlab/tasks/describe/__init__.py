from cnnlab.tasks.describe.command import run

__all__ = ["run"]

from cnnlab.tasks.train.command import run

__all__ = ["run"]

from cnnlab.tasks.bench.command import run

__all__ = ["run"]

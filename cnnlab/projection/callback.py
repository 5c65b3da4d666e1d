"""The type of the callbacks that report the progress of a projection."""

from collections.abc import Callable

ProjectionCallback = Callable[[int, int, float], None]
"""Called with the steps done, the steps in all, and the KL divergence in nats."""

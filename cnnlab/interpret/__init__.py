"""Methods that explain what a network has learned."""

import cnnlab.core.matplotlib_defaults  # noqa: F401  (captum imports matplotlib)

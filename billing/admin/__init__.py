"""The ops console's pages of plans and usage."""

from billing.admin import plans, usage

__all__ = ["plans", "usage"]

"""The ops console's pages of plans and usage."""

from billing.admin import plans, stripe, usage

__all__ = ["plans", "stripe", "usage"]

"""The console, for what operators see of billing."""

from tests.admin.conftest import console, staff

__all__ = ["console", "staff"]

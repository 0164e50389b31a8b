"""Fixtures of the console, for what operators do to plans."""

from tests.admin.conftest import console, staff

__all__ = ["console", "staff"]

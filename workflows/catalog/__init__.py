"""The workflow templates, by slug."""

from workflows.catalog.base import Ask, Fault, Final, Taken, Template
from workflows.catalog.email_verify import EmailVerify
from workflows.catalog.email_waterfall import EmailWaterfall

_ALL: tuple[Template, ...] = (EmailWaterfall(), EmailVerify())
TEMPLATES: dict[str, Template] = {template.slug: template for template in _ALL}

__all__ = ["TEMPLATES", "Ask", "Fault", "Final", "Taken", "Template"]

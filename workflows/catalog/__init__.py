"""The workflow templates, by slug."""

from workflows.catalog.base import Ask, Fault, Final, Taken, Template
from workflows.catalog.email_verify import EmailVerify
from workflows.catalog.email_waterfall import EmailWaterfall

TEMPLATES: dict[str, Template] = {template.slug: template for template in (EmailWaterfall(), EmailVerify())}

__all__ = ["TEMPLATES", "Ask", "Fault", "Final", "Taken", "Template"]

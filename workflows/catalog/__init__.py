"""The workflow templates, by slug."""

from workflows.catalog.base import Ask, Fault, Final, Taken, Template
from workflows.catalog.email_verify import EmailVerify
from workflows.catalog.email_waterfall import EmailWaterfall

_ALL: tuple[Template, ...] = (EmailWaterfall(), EmailVerify())
TEMPLATES: dict[str, Template] = {template.slug: template for template in _ALL}


def allow(provider: str) -> None:
    """Let workflows use a vendor that the templates do not name: one of the sandbox alone."""
    for template in _ALL:
        for name in ("finders", "verifier"):
            rule = template.config_schema.get(name)
            if rule is not None and provider not in rule["of"]:
                rule["of"] = (*rule["of"], provider)


__all__ = ["TEMPLATES", "Ask", "Fault", "Final", "Taken", "Template", "allow"]

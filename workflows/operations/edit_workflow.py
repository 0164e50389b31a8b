"""Creating and changing workflows."""

from collections.abc import Mapping
from typing import Any

from django.utils.text import slugify

from tenants import audit
from tenants.errors import Conflict, InvalidInput
from tenants.scope import require_tenant_id, tenant_scope
from workflows.catalog import TEMPLATES
from workflows.models import Workflow


def create_default_workflows(*, actor: str) -> list[Workflow]:
    """What each new tenant starts with: one workflow per template, with the default configuration."""
    return [
        create_workflow(
            template=template.slug, name=template.title, slug=template.slug, config={}, actor=actor
        )
        for template in TEMPLATES.values()
    ]


def create_workflow(
    *, template: str, name: str, config: Mapping[str, Any], actor: str, slug: str | None = None
) -> Workflow:
    """Create a workflow of the open tenant. Raises InvalidInput and, for a taken slug, Conflict."""
    if template not in TEMPLATES:
        known = ", ".join(TEMPLATES)
        raise InvalidInput(f"There is no template “{template[:40]}”. Known: {known}.")
    name = " ".join(name.split())
    if not 1 <= len(name) <= 120:
        raise InvalidInput(
            "A workflow's name has 1 to 120 characters.", errors=[{"field": "name", "message": "1-120"}]
        )
    cleaned, faults = TEMPLATES[template].clean_config(config)
    if faults:
        raise InvalidInput(
            "The configuration cannot be used.",
            errors=[{"field": f.field, "message": f.message} for f in faults],
        )
    with tenant_scope(require_tenant_id()):
        slug = slug or slugify(name)[:64] or template
        if Workflow.objects.filter(slug=slug).exists():
            raise Conflict(f"There is a workflow “{slug}” already. Choose another name.")
        workflow = Workflow.objects.create(template=template, name=name, slug=slug, config=cleaned)
        audit.record(actor=actor, verb="workflow.created", subject=workflow, template=template)
    return workflow

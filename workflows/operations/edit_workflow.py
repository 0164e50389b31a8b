"""Creating and changing workflows."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.utils.text import slugify

from tenants import audit
from tenants.errors import Conflict, InvalidInput, NotFound
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


def change_workflow(
    *,
    workflow_id: uuid.UUID,
    actor: str,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enabled: bool | None = None,
) -> Workflow:
    """Change a workflow of the open tenant; settings that `config` does not name stay. Runs that were accepted keep the
    settings they were accepted with. Raises NotFound, and InvalidInput naming each fault."""
    with tenant_scope(require_tenant_id()):
        workflow = Workflow.objects.select_for_update().filter(pk=workflow_id).first()
        if workflow is None:
            raise NotFound("There is no such workflow.")
        before = (workflow.name, workflow.config, workflow.enabled)
        if name is not None:
            workflow.name = _clean_name(name)
        if config is not None:
            workflow.config = _clean_config(workflow.template, {**workflow.config, **config})
        if enabled is not None:
            workflow.enabled = enabled
        after = (workflow.name, workflow.config, workflow.enabled)
        if after != before:
            workflow.version += workflow.config != before[1]
            workflow.save(update_fields=["name", "config", "enabled", "version", "updated_at"])
            changed = [
                what
                for what, old, new in zip(("name", "config", "enabled"), before, after, strict=True)
                if old != new
            ]
            audit.record(
                actor=actor,
                verb="workflow.changed",
                subject=workflow,
                changed=changed,
                version=workflow.version,
            )
    return workflow


def create_workflow(
    *, template: str, name: str, config: Mapping[str, Any], actor: str, slug: str | None = None
) -> Workflow:
    """Create a workflow of the open tenant. Raises InvalidInput and, for a taken slug, Conflict."""
    if template not in TEMPLATES:
        known = ", ".join(TEMPLATES)
        raise InvalidInput(
            f"There is no template “{template[:40]}”. Known: {known}.",
            errors=[{"field": "template", "message": f"Choose one out of: {known}."}],
        )
    name = _clean_name(name)
    cleaned = _clean_config(template, config)
    with tenant_scope(require_tenant_id()):
        slug = slug or slugify(name)[:64] or template
        if Workflow.objects.filter(slug=slug).exists():
            raise Conflict(f"There is a workflow “{slug}” already. Choose another name.")
        workflow = Workflow.objects.create(template=template, name=name, slug=slug, config=cleaned)
        audit.record(actor=actor, verb="workflow.created", subject=workflow, template=template)
    return workflow


def _clean_name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 120:
        raise InvalidInput(
            "A workflow's name has 1 to 120 characters.", errors=[{"field": "name", "message": "1-120"}]
        )
    return name


def _clean_config(template: str, config: Mapping[str, Any]) -> dict[str, Any]:
    cleaned, faults = TEMPLATES[template].clean_config(config)
    if faults:
        raise InvalidInput(
            "The configuration cannot be used.",
            errors=[{"field": f"config.{f.field}", "message": f.message} for f in faults],
        )
    return cleaned

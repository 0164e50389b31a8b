"""The tenant's workflows, each described in words."""

from dataclasses import dataclass

from django.http import HttpResponse

from tenants.errors import NotFound
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, tenant_page
from workflows import queries
from workflows.catalog import TEMPLATES
from workflows.models import Workflow
from workflows.web import describe
from workflows.web.frame import render_page
from workflows.web.run_row import RunRow


@dataclass(frozen=True, slots=True)
class WorkflowView:
    """A workflow as a page shows it."""

    workflow: Workflow
    title: str
    description: str
    sentences: list[str]
    settings: list[tuple[str, str]]

    @property
    def state(self) -> str:
        return "enabled" if self.workflow.enabled else "disabled"


@tenant_page("workflows.read")
def workflow_list(request: TenantRequest) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        views = [view_of(workflow) for workflow in Workflow.objects.order_by("name")]
    return render_page(request, "workflows/workflows.html", nav="workflows", workflows=views)


@tenant_page("workflows.read")
def workflow_page(request: TenantRequest, slug: str) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        workflow = Workflow.objects.filter(slug=slug).first()
        if workflow is None:
            raise NotFound("There is no such workflow. The list of workflows names those there are.")
        runs = list(queries.runs(workflow=workflow.pk)[:10])
        finishes = queries.estimates(runs)
    return render_page(
        request,
        "workflows/workflow.html",
        nav="workflows",
        view=view_of(workflow),
        rows=[RunRow(run, finishes[run.pk]) for run in runs],
        workflow=workflow,
    )


def view_of(workflow: Workflow) -> WorkflowView:
    template = TEMPLATES[workflow.template]
    config, _ = template.clean_config(workflow.config)
    settings = [(name, _shown(value)) for name, value in config.items()]
    sentences = describe.workflow_sentences(workflow.template, config)
    return WorkflowView(workflow, template.title, template.description, sentences, settings)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return "none" if value is None else str(value)

"""Changing what a workflow does: a form made from its template's settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect

from tenants.errors import NotFound, WeirError
from tenants.scope import tenant_scope
from tenants.web import statuses
from tenants.web.access import TenantRequest, actor, tenant_page
from workflows.catalog import TEMPLATES
from workflows.models import Workflow
from workflows.operations.edit_workflow import change_workflow
from workflows.web import describe
from workflows.web.frame import render_page

_PLACES = ("first", "second", "third", "fourth", "fifth")
_LABELS = {
    "verifier": "Verified by",
    "accept": "An address counts as found when it is",
    "max_credits_per_record": "Most credits a record",
    "reuse_days": "Use your own answers again for",
    "on_outage": "When a vendor is down",
    "max_attempts": "Attempts of a call",
    "backoff_s": "Rest after a failed attempt",
    "timeout_s": "Seconds for a call",
}
_HELP = {
    "max_credits_per_record": "A record that would cost more waits. Leave it empty for no limit.",
    "reuse_days": "Days, 0 to 365. An answer that you paid for within that time is used again at no cost.",
    "max_attempts": "1 to 10. A call that fails for a moment is tried so often, with growing rests between.",
    "backoff_s": "Seconds, 1 to 300. The second attempt comes within this time, at random; the time doubles with every "
    "attempt, up to 5 minutes. A vendor that says when to come back is obeyed.",
    "timeout_s": "5 to 60. A vendor that has not answered by then is not waited for; it may charge all the same. Where a "
    "vendor has a shorter time of its own, that holds.",
}
_OUTAGE = {"wait": "Records wait for it", "skip": "The next one is asked"}


class WorkflowForm(forms.Form):
    """Name, state, and the settings of the template: `clean` leaves them in `config`, as the API takes them."""

    name = forms.CharField(label="Name", max_length=120)
    enabled = forms.BooleanField(label="Takes new runs", required=False)

    def __init__(self, template: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.schema = TEMPLATES[template].config_schema
        self.config: dict[str, Any] = {}
        for name, rule in self.schema.items():
            self.fields |= dict(_fields_of(name, rule))

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        for name, rule in self.schema.items():
            places = [field for field in self.fields if field.startswith(f"{name}_")]
            if name == "finders":
                self.config[name] = [data[field] for field in places if data.get(field)]
                if len(set(self.config[name])) != len(self.config[name]):
                    self.add_error(places[-1], "Each vendor can be named once.")
            elif rule["type"] == "credits":
                self.config[name] = None if data.get(name) is None else float(data[name])
            else:
                self.config[name] = data.get(name) or (0 if rule["type"] == "integer" else None)
        return data

    @property
    def finders(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith("finders_")]


def _fields_of(name: str, rule: Mapping[str, Any]) -> Iterator[tuple[str, forms.Field]]:
    label, help_text = _LABELS.get(name, name), _HELP.get(name, "")
    if name == "finders":
        vendors = [(provider, describe.vendor_title(provider)) for provider in rule["of"]]
        for place, word in list(enumerate(_PLACES))[: len(vendors)]:
            yield (
                f"finders_{place}",
                forms.ChoiceField(
                    label=f"Asked {word}", required=place == 0,
                    choices=vendors if place == 0 else [("", "nobody"), *vendors],
                ),
            )  # fmt: skip
    elif rule["type"] == "list":
        words = [(status, statuses.shown(status).word) for status in rule["of"]]
        yield name, forms.MultipleChoiceField(
            label=label, choices=words, widget=forms.CheckboxSelectMultiple,
            error_messages={"required": "Choose one at least."},
        )  # fmt: skip
    elif name == "on_outage":
        yield name, forms.ChoiceField(label=label, choices=[(value, _OUTAGE[value]) for value in rule["of"]])
    elif rule["type"] == "choice":
        vendors = [(provider, describe.vendor_title(provider)) for provider in rule["of"]]
        nobody = [("", "nobody")] if rule.get("null") else []
        yield name, forms.ChoiceField(label=label, choices=[*nobody, *vendors], required=not nobody)
    elif rule["type"] == "integer":
        yield (
            name,
            forms.IntegerField(
                label=label, help_text=help_text, min_value=rule["min"], max_value=rule["max"]
            ),
        )
    else:
        yield (
            name,
            forms.DecimalField(
                label=label,
                help_text=help_text,
                required=False,
                min_value=0,
                max_value=1_000_000,
                decimal_places=3,
            ),
        )


@tenant_page("workflows.change")
def workflow_settings(request: TenantRequest, slug: str) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        workflow = Workflow.objects.filter(slug=slug).first()
    if workflow is None:
        raise NotFound("There is no such workflow. The list of workflows names those there are.")
    if request.method != "POST":
        return _page(request, workflow, WorkflowForm(workflow.template, initial=_values(workflow)))
    form = WorkflowForm(workflow.template, request.POST)
    if form.is_valid():
        try:
            with tenant_scope(request.membership.tenant_id):
                changed = change_workflow(
                    workflow_id=workflow.pk, actor=actor(request), name=form.cleaned_data["name"],
                    enabled=form.cleaned_data["enabled"], config=form.config,
                )  # fmt: skip
        except WeirError as error:
            for entry in error.errors or [{"field": "", "message": error.detail}]:
                field = entry.get("field", "").removeprefix("config.")
                form.add_error(field if field in form.fields else None, entry["message"])
        else:
            messages.success(
                request, f"“{changed.name}” is changed. Runs that were accepted keep their settings."
            )
            return redirect("workflow", changed.slug)
    return _page(request, workflow, form, status=422)


def _values(workflow: Workflow) -> dict[str, Any]:
    config, _ = TEMPLATES[workflow.template].clean_config(workflow.config)
    finders = {f"finders_{place}": finder for place, finder in enumerate(config.pop("finders", []))}
    return {"name": workflow.name, "enabled": workflow.enabled, **config, **finders}


def _page(
    request: TenantRequest, workflow: Workflow, form: WorkflowForm, *, status: int = 200
) -> HttpResponse:
    return render_page(
        request, "workflows/workflow_settings.html", nav="workflows", status=status, form=form,
        workflow=workflow, settings=[name for name in form.schema if name in form.fields],
    )  # fmt: skip

"""Who is never to be looked up or delivered: the tenant's list, and changing it."""

import uuid
from collections.abc import Iterator

from django import forms
from django.contrib import messages
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from integrations.models import Suppression
from integrations.suppression_keys import HELP, read_entry
from integrations.suppressions import MAX_AT_ONCE, add_suppressions, lines_of, remove_suppressions
from tenants.errors import InvalidInput
from tenants.scope import tenant_scope
from tenants.web import figures
from tenants.web.access import TenantRequest, actor, allows, tenant_page
from workflows.exports import neutral
from workflows.web.frame import render_page
from workflows.web.paging import page_of, row_id

LARGEST_FILE = 5 * 2**20


class ListForm(forms.Form):
    """Lines that were pasted, a file of one column, or both."""

    lines = forms.CharField(
        label="Addresses, domains, people", widget=forms.Textarea(attrs={"rows": 6}), required=False, help_text=
        f"One a line, up to {MAX_AT_ONCE:,}. {HELP}",
    )  # fmt: skip
    file = forms.FileField(label="Or a CSV file with one column", required=False)

    def given(self) -> list[str]:
        """Every line that was given. Raises ValidationError for a file that cannot be read."""
        found = lines_of(self.cleaned_data["lines"])
        file = self.cleaned_data["file"]
        if file is not None:
            if file.size > LARGEST_FILE:
                raise forms.ValidationError("The file is larger than 5 MB. Split it.")
            try:
                found += lines_of(file.read().decode("utf-8-sig"))
            except UnicodeDecodeError:
                raise forms.ValidationError("The file is not UTF-8 text. Save it as CSV UTF-8.") from None
        return found


@tenant_page("suppressions.read", post="suppressions.change")
def suppressions(request: TenantRequest) -> HttpResponse:
    form = ListForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid() and _add(request, form):
        return redirect("suppressions")
    wanted = request.GET.get("q", "").strip()
    with tenant_scope(request.membership.tenant_id):
        rows = Suppression.objects.all()
        if wanted:
            entry = read_entry(wanted)
            rows = rows.filter(key=entry.key) if entry else rows.none()
        page = page_of(rows, request.GET, key="id", ascending=False, parse=row_id)
    return render_page(
        request, "workflows/suppressions.html", nav="settings", status=422 if form.errors else 200, form=form,
        page=page, wanted=wanted, may_change=allows(request, "suppressions.change"),
    )  # fmt: skip


@require_POST
@tenant_page("suppressions.change")
def remove(request: TenantRequest, suppression_id: uuid.UUID) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        remove_suppressions(actor=actor(request), ids=[suppression_id])
    messages.success(request, "Taken off the list: it may be looked up again.")
    return redirect("suppressions")


@tenant_page("suppressions.read")
def export(request: TenantRequest) -> StreamingHttpResponse:
    response = StreamingHttpResponse(
        _csv(request.membership.tenant_id), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = 'attachment; filename="suppressions.csv"'
    return response


def _csv(tenant_id: uuid.UUID) -> Iterator[bytes]:
    yield b"\xef\xbb\xbfkind,value\r\n"
    after = uuid.UUID(int=0)
    while True:
        with tenant_scope(tenant_id):
            chunk = list(
                Suppression.objects.filter(pk__gt=after)
                .order_by("pk")
                .values_list("pk", "kind", "value")[:1_000]
            )
        if not chunk:
            return
        after = chunk[-1][0]
        yield "".join(
            f'{kind},"{neutral(value).replace(chr(34), chr(34) * 2)}"\r\n' for _, kind, value in chunk
        ).encode()


def _add(request: TenantRequest, form: ListForm) -> bool:
    try:
        lines = form.given()
        with tenant_scope(request.membership.tenant_id):
            added = add_suppressions(lines=lines, actor=actor(request), strict=False)
    except forms.ValidationError as error:
        form.add_error("file", error)
        return False
    except InvalidInput:
        form.add_error("lines", f"Give 1 to {MAX_AT_ONCE:,} lines.")
        return False
    if added.faults and not added.new and not added.known:
        form.add_error("lines", f"Nobody is named here. {HELP}")
        return False
    parts = [f"{figures.counted(len(added.new), 'entry', 'entries')} added"]
    if added.known:
        parts.append(f"{added.known:,} were on the list already")
    if added.faults:
        shown = ", ".join(f"“{line}”" for _, line in added.faults[:3])
        parts.append(f"{len(added.faults):,} name nobody and were left out ({shown})")
    messages.success(request, "; ".join(parts) + ".")
    return True

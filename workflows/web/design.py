"""Every component once, for whoever builds the next page. Local environments alone."""

from django.conf import settings
from django.http import Http404, HttpResponse
from django.utils import timezone

from tenants.web import statuses
from tenants.web.access import TenantRequest, tenant_page
from tenants.web.icons import PATHS
from workflows.models import Run
from workflows.states import RunStatus
from workflows.web import progress
from workflows.web.forms import ConnectForm
from workflows.web.frame import render_page
from workflows.web.run_row import RunRow


@tenant_page("tenant.read")
def design(request: TenantRequest) -> HttpResponse:
    if settings.WEIR_ENV not in ("local", "test"):
        raise Http404
    run = Run(
        name="Example.csv",
        status=RunStatus.RUNNING,
        total=1000,
        found=412,
        not_found=118,
        skipped=20,
        failed=30,
        cancelled=40,
        running=60,
        queued=320,
        pending=380,
        created_at=timezone.now(),
    )
    form = ConnectForm({"provider": "prospeo", "secret": "", "mode": "live"})
    return render_page(
        request,
        "workflows/design.html",
        nav="",
        icons=sorted(PATHS),
        statuses=list(statuses._SHOWN),
        run=run,
        rows=[RunRow(run, None)],
        segments=progress.segments(run),
        form=form,
    )

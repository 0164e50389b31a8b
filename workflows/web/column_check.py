"""An uploaded file under a choice of columns: which rows are ready, which are faulty and why, and what a run may cost."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, cast

from django.core.files.storage import default_storage
from django.http import QueryDict

from integrations.models import Connection
from integrations.queries import usable_connections
from tenants.errors import NotFound
from tenants.scope import tenant_scope
from workflows import field_text
from workflows.catalog import TEMPLATES
from workflows.csv_in import Dialect, MappingFault, check_mapping, check_rows
from workflows.csv_in.inspection import LISTED_ERRORS
from workflows.models import Run, Upload, Workflow
from workflows.operations.accept_run import find_workflow
from workflows.web import cost

PREFIX = "m_"
SAMPLE_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class FieldChoice:
    """One field of ours, the column chosen for it, and what the first rows hold there."""

    name: str
    label: str
    column: str
    examples: list[str]
    problem: str


@dataclass(frozen=True, slots=True)
class Check:
    """What the page of the second step shows."""

    upload: Upload
    workflow: Workflow
    workflows: list[Workflow]
    mapping: dict[str, str]
    fields: list[FieldChoice]
    faults: list[MappingFault]
    errors: list[dict[str, Any]]
    error_count: int
    costs: list[cost.VendorCost]
    livemode: bool
    may_choose_mode: bool
    earlier: Run | None
    headings: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ready(self) -> int:
        return self.upload.rows - self.error_count

    @property
    def usable(self) -> bool:
        return not self.faults and self.ready > 0 and not self.missing

    @property
    def missing(self) -> list[cost.VendorCost]:
        """The vendors without a connection, each once."""
        return list({c.provider: c for c in self.costs if c.connection is None}.values())

    @property
    def most_credits(self) -> int:
        return cost.total(self.costs)

    @property
    def unlisted(self) -> int:
        return self.error_count - len(self.errors)

    @property
    def sandboxed(self) -> bool:
        """Whether any vendor would be asked in sandbox mode, where answers are made up."""
        return any(c.connection and c.connection.mode == Connection.Mode.SANDBOX for c in self.costs)

    @property
    def sample(self) -> list[list[str]]:
        return [[row.get(column, "") for column, _ in self.headings] for row in self.upload.sample]

    @property
    def hidden_columns(self) -> int:
        return len(self.upload.columns) - len(self.headings)


def read_check(
    tenant_id: uuid.UUID, upload_id: uuid.UUID, params: QueryDict, *, with_rows: bool = True
) -> Check:
    """Look the file over with the columns that `params` choose (m_<field>=<column>). Raises NotFound.

    Judging the rows of a large file by other columns than the guessed ones takes seconds: `with_rows` leaves it out.
    """
    with tenant_scope(tenant_id):
        upload = Upload.objects.filter(pk=upload_id, purged_at=None).first()
        if upload is None:
            raise NotFound("There is no such file. Upload it again.")
        workflows = list(Workflow.objects.filter(template=upload.template, enabled=True).order_by("id"))
        workflow = find_workflow(params.get("workflow") or upload.template)
        config, _ = TEMPLATES[workflow.template].clean_config(workflow.config)
        providers = {provider for _, provider in TEMPLATES[workflow.template].providers(config)}
        live = usable_connections(providers, livemode=True)
        sandbox = usable_connections(providers, livemode=False)
        earlier = Run.objects.filter(upload=upload).order_by("-id").first()
    if workflow.template != upload.template:
        raise NotFound("This file was read for another kind of workflow. Upload it again for this one.")
    mapping = _chosen(upload, params)
    faults = check_mapping(upload.columns, mapping, template=upload.template)
    errors, error_count = _rows(upload, mapping, faults) if with_rows else ([], 0)
    livemode, may_choose = _mode(params, live, sandbox, providers)
    costs = cost.worst_case(
        workflow.template, config, upload.rows - error_count, live if livemode else sandbox
    )
    return Check(
        upload=upload,
        workflow=workflow,
        workflows=workflows,
        mapping=mapping,
        fields=_fields(upload, mapping, faults),
        faults=faults,
        errors=errors,
        error_count=error_count,
        costs=costs,
        livemode=livemode,
        may_choose_mode=may_choose,
        earlier=earlier,
        headings=_headings(upload, mapping),
    )


def _chosen(upload: Upload, params: QueryDict) -> dict[str, str]:
    if not any(name.startswith(PREFIX) for name in params):
        return dict(upload.mapping)
    fields = TEMPLATES[upload.template].fields
    chosen = {name: str(params.get(PREFIX + name) or "") for name in fields}
    return {name: column for name, column in chosen.items() if column}


def _rows(
    upload: Upload, mapping: Mapping[str, str], faults: Sequence[MappingFault]
) -> tuple[list[dict[str, Any]], int]:
    """The faulty rows: as the upload noted them for the guessed columns, counted again for other ones."""
    if faults:
        return [], 0
    if mapping == upload.mapping:
        return upload.errors, upload.error_count
    try:
        with default_storage.open(upload.stored_as) as file:
            stream = cast(BinaryIO, file)
            dialect = Dialect.from_dict(upload.dialect)
            found, count = check_rows(
                stream, dialect, upload.columns, mapping, template=upload.template, limit=LISTED_ERRORS
            )
    except FileNotFoundError:
        raise NotFound("The file is gone from the storage. Upload it again.") from None
    return [asdict(fault) for fault in found], count


def _mode(
    params: QueryDict, live: Mapping[str, Connection], sandbox: Mapping[str, Connection], providers: set[str]
) -> tuple[bool, bool]:
    """Whether the run is live, and whether there is a choice: only where both kinds of key are complete."""
    any_live = any(c.mode == Connection.Mode.LIVE for c in live.values())
    may_choose = any_live and providers <= set(live) and providers <= set(sandbox)
    if may_choose and params.get("mode") in ("live", "sandbox"):
        return params["mode"] == "live", True
    return any_live or not sandbox, may_choose


def _fields(upload: Upload, mapping: Mapping[str, str], faults: Sequence[MappingFault]) -> list[FieldChoice]:
    problems = {fault.field: fault.message for fault in reversed(faults)}
    choices = []
    for name in TEMPLATES[upload.template].fields:
        column = mapping.get(name, "")
        examples = [row[column] for row in upload.sample if row.get(column)] if column else []
        label = field_text.LABELS[name]
        choices.append(
            FieldChoice(name, label[:1].upper() + label[1:], column, examples[:2], problems.get(name, ""))
        )
    return choices


def _headings(upload: Upload, mapping: Mapping[str, str]) -> list[tuple[str, str]]:
    """(column, label of its field or "") of the columns that are shown: the chosen ones first."""
    field_of = {column: field_text.LABELS[name] for name, column in mapping.items()}
    chosen = [column for column in upload.columns if column in field_of]
    others = [column for column in upload.columns if column not in field_of]
    return [(column, field_of.get(column, "")) for column in [*chosen, *others][:SAMPLE_COLUMNS]]

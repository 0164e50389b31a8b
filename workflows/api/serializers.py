"""The shapes of runs, records, steps, uploads, workflows and lanes."""

import json
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.api.serializers import LimitsBody, WindowSerializer
from integrations.webhooks import addresses
from tenants.api.base import Body
from tenants.api.fields import CreditsField, CreditsInput
from workflows.catalog import TEMPLATES
from workflows.lane_queries import LaneView
from workflows.models import Run
from workflows.states import RecordStatus, RunStatus, StepOutcome, StepStatus, WaitReason

MAX_METADATA_BYTES = 16_384


# --- bodies ---------------------------------------------------------------------------------------------------------------


@extend_schema_field({"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 1000})
class RecordsField(serializers.Field):
    """A list of JSON objects. What is in them is the template's business: a faulty record fails alone."""

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if not isinstance(data, list):
            raise serializers.ValidationError("A list of JSON objects.")
        wrong = [number for number, item in enumerate(data) if not isinstance(item, dict)]
        if wrong:
            raise serializers.ValidationError({str(number): ["Not a JSON object."] for number in wrong[:100]})
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"type": "object", "additionalProperties": {"type": ["string", "null"]}})
class MappingField(serializers.Field):
    """field of the template -> column heading, or null to leave the field out."""

    def to_internal_value(self, data: Any) -> dict[str, str | None]:
        fits = isinstance(data, dict) and all(
            value is None or isinstance(value, str) for value in data.values()
        )
        if not fits:
            raise serializers.ValidationError("A JSON object of field names and column headings.")
        return dict(data)

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(OpenApiTypes.OBJECT)
class MetadataField(serializers.Field):
    """A JSON object of the caller's, given back with the run."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("A JSON object.")
        if len(json.dumps(data)) > MAX_METADATA_BYTES:
            raise serializers.ValidationError(f"At most {MAX_METADATA_BYTES:,} bytes of JSON.")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class RunBody(Body):
    workflow = serializers.CharField(max_length=64, help_text="Id or slug.")
    records = RecordsField(required=False, help_text="1 to 1,000 records; or give `upload`.")
    upload = serializers.UUIDField(required=False, help_text="Id of an upload, in place of `records`.")
    mapping = MappingField(required=False, help_text="For an upload; as guessed when left out.")
    name = serializers.CharField(max_length=200, required=False, allow_blank=True)
    priority = serializers.IntegerField(
        min_value=0, max_value=9, required=False, help_text="5 when left out."
    )
    credit_limit = CreditsInput(required=False, allow_null=True, help_text="The vendors' credits at most.")
    callback_url = serializers.CharField(
        max_length=500,
        required=False,
        allow_blank=True,
        help_text="Gets `run.completed` or `run.failed`; https.",
    )
    metadata = MetadataField(required=False, help_text="Given back with the run; up to 16 KiB.")

    def validate_callback_url(self, value: str) -> str:
        try:
            if value:
                addresses.read(value)
        except addresses.RefusedAddress as problem:
            raise serializers.ValidationError(str(problem)) from None
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("records" in attrs) == ("upload" in attrs):
            raise serializers.ValidationError({"records": ["Give either records or upload."]})
        if "mapping" in attrs and "upload" not in attrs:
            raise serializers.ValidationError({"mapping": ["A mapping goes with an upload."]})
        return attrs


@extend_schema_field({"type": "object", "additionalProperties": {"type": ["string", "null"]}})
class ChangesField(MappingField):
    """field of the record's input -> its new value, or null to remove it."""


class RunPatch(Body):
    credit_limit = CreditsInput(
        required=False, allow_null=True, help_text="The vendors' credits at most; null: none."
    )
    priority = serializers.IntegerField(min_value=0, max_value=9, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give credit_limit, priority, or both.")
        return attrs


class RetryBody(Body):
    error_code = serializers.CharField(
        max_length=64, required=False, help_text="Only failed with this error."
    )
    provider = serializers.CharField(
        max_length=32, required=False, help_text="Only where this vendor gave up."
    )


class RetryRecordBody(Body):
    mode = serializers.ChoiceField(
        ["resume", "restart"],
        default="resume",
        help_text="`resume` keeps the answers that the record has; `restart` begins anew: vendors are asked, and paid,"
        " again.",
    )
    input = ChangesField(required=False, help_text="Fields to change; null removes one.")


class LanePatch(LimitsBody):
    bulk = serializers.BooleanField(
        required=False,
        help_text="Whether several questions may go in one call, where the vendor has an endpoint for it.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if not attrs:
            raise serializers.ValidationError("Give windows (or rate and period), parallelism or bulk.")
        return attrs


class UploadForm(serializers.Serializer):
    file = serializers.FileField(help_text="CSV of up to 100,000 rows and 50 MiB.")
    template = serializers.CharField(required=False, help_text="email-waterfall when left out.")


# --- answers --------------------------------------------------------------------------------------------------------------


class CountsSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    queued = serializers.IntegerField()
    running = serializers.IntegerField()
    found = serializers.IntegerField()
    not_found = serializers.IntegerField()
    done = serializers.IntegerField()
    failed = serializers.IntegerField()
    skipped = serializers.IntegerField()
    cancelled = serializers.IntegerField()


class RunCreditsSerializer(serializers.Serializer):
    estimated = CreditsField(source="credits_estimated")
    reserved = CreditsField(source="credits_reserved")
    spent = CreditsField(source="credits_spent")
    limit = CreditsField(source="credit_limit", allow_null=True)


class RunSerializer(serializers.Serializer):
    """`context["finishes"]` has the estimated finish of each run by id."""

    id = serializers.UUIDField()
    workflow = serializers.CharField(source="workflow.slug", help_text="Slug of the workflow.")
    name = serializers.CharField()
    status = serializers.ChoiceField(RunStatus.choices)
    livemode = serializers.BooleanField()
    source = serializers.ChoiceField(Run.Source.choices)  # type: ignore[assignment]
    priority = serializers.IntegerField()
    records = CountsSerializer(source="*")
    credits = RunCreditsSerializer(source="*")
    error = serializers.SerializerMethodField(help_text="Why the run itself could not go on.")
    estimated_finish = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    metadata = serializers.DictField()

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_error(self, run: Run) -> str | None:
        return run.error or None

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_estimated_finish(self, run: Run) -> str | None:
        finish = self.context["finishes"].get(run.pk)
        return serializers.DateTimeField().to_representation(finish) if finish else None


class OutputSerializer(serializers.Serializer):
    email = serializers.CharField(allow_null=True)
    email_status = serializers.CharField(allow_null=True)
    found_by = serializers.CharField(allow_null=True)
    verified_by = serializers.CharField(allow_null=True)


class RecordErrorSerializer(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()


@extend_schema_field(OutputSerializer(allow_null=True))
class OutputField(serializers.JSONField):
    pass


@extend_schema_field(RecordErrorSerializer(allow_null=True))
class RecordErrorField(serializers.JSONField):
    pass


class RecordSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    position = serializers.IntegerField()
    status = serializers.ChoiceField(RecordStatus.choices)
    input = serializers.DictField()
    output = OutputField()
    error = RecordErrorField()
    credits = CreditsField()


class StepSerializer(serializers.Serializer):
    name = serializers.CharField()
    provider = serializers.CharField()
    status = serializers.ChoiceField(StepStatus.choices)
    outcome = serializers.ChoiceField(StepOutcome.choices, allow_null=True)
    attempt = serializers.IntegerField()
    http_status = serializers.IntegerField(allow_null=True)
    latency_ms = serializers.IntegerField(allow_null=True)
    credits = CreditsField()
    wait_reason = serializers.ChoiceField(WaitReason.choices, allow_null=True)
    ready_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class RecordWithStepsSerializer(RecordSerializer):
    """`context["steps"]` has the record's steps."""

    steps = serializers.SerializerMethodField()

    @extend_schema_field(StepSerializer(many=True))
    def get_steps(self, record: Any) -> Any:
        return StepSerializer(self.context["steps"], many=True).data


class RowErrorSerializer(serializers.Serializer):
    line = serializers.IntegerField(help_text="Line of the file, from 1.")
    code = serializers.CharField()
    message = serializers.CharField()


class UploadSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    filename = serializers.CharField()
    columns = serializers.ListField(child=serializers.CharField())
    rows = serializers.IntegerField(help_text="Rows that will be records, faulty ones included.")
    blank_lines = serializers.IntegerField(
        help_text="Lines with nothing on them: the only ones that make no record."
    )
    guessed_mapping = serializers.DictField(source="mapping", child=serializers.CharField())
    sample = serializers.ListField(child=serializers.DictField())
    errors = RowErrorSerializer(many=True, help_text="The first 200 faulty rows.")  # type: ignore[assignment]
    error_count = serializers.IntegerField()


class WorkflowBody(Body):
    template = serializers.ChoiceField(sorted(TEMPLATES))
    name = serializers.CharField(max_length=120)
    slug = serializers.RegexField(
        r"^[a-z0-9][a-z0-9_-]{0,63}\Z",
        required=False,
        help_text="Names the workflow in POST /runs; made from its name when left out.",
    )
    config = serializers.DictField(
        required=False, help_text="Settings; what is left out is as GET /templates says."
    )


class WorkflowPatch(Body):
    """Whatever is left out stays as it is; so do settings that `config` does not name."""

    name = serializers.CharField(max_length=120, required=False)
    config = serializers.DictField(required=False)
    enabled = serializers.BooleanField(required=False, help_text="Whether runs of it can be started.")


class WorkflowSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    template = serializers.CharField()
    config = serializers.DictField()
    version = serializers.IntegerField()
    enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class TemplateSerializer(serializers.Serializer):
    slug = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    fields_ = serializers.ListField(child=serializers.CharField())
    config_schema = serializers.DictField()
    default_config = serializers.DictField()

    def get_fields(self) -> dict[str, Any]:
        # A shape cannot have a field that is called like its own attribute `fields`.
        found: dict[str, Any] = super().get_fields()
        return {name.rstrip("_"): field for name, field in found.items()}


class LaneSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    connection = serializers.UUIDField(source="connection_id")
    provider = serializers.CharField()
    key_hint = serializers.CharField()
    windows = WindowSerializer(many=True)
    rate = serializers.IntegerField(allow_null=True, help_text="Of the first window.")
    period = serializers.FloatField(allow_null=True, help_text="Of the first window, in seconds.")
    parallelism = serializers.IntegerField()
    paused = serializers.BooleanField()
    pinned = serializers.BooleanField(help_text="Whether the limits were set here and not by the connection.")
    bulk = serializers.BooleanField(help_text="Whether several questions may go in one call.")
    waiting = serializers.IntegerField()
    in_flight = serializers.IntegerField()
    started_last_period = serializers.IntegerField()
    oldest_waiting_s = serializers.FloatField(allow_null=True)
    wait_reason = serializers.ChoiceField(WaitReason.choices, allow_null=True)
    breaker = serializers.ChoiceField(["closed", "open", "half_open"])
    breaker_until = serializers.DateTimeField(
        allow_null=True, help_text="When the rest is over, while it is open."
    )


def lane_json(view: LaneView) -> Any:
    return LaneSerializer(view).data

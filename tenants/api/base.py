"""What the views of the API share: who calls, and the reading of bodies and query parameters."""

import functools
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, cast

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from tenants.api import once
from tenants.api.deprecation import Going
from tenants.api.errors import LengthRequired
from tenants.errors import InvalidInput
from tenants.queries import KeyOwner

MAX_ERRORS = 100


class ApiView(APIView):
    """A view of the API.

    `resource` names its row in the table of permissions: reading takes `<resource>.read`, anything else
    `<resource>.change`, unless `permissions` names another one for the method.
    """

    resource: ClassVar[str]
    permissions: ClassVar[Mapping[str, str]] = {}
    shown_once: ClassVar[tuple[str, ...]] = ()
    """Fields of the answer to a POST that nobody is shown again, nor kept for an `Idempotency-Key`."""
    one_transaction: ClassVar[bool] = True
    """Whether a write is one transaction, which a POST then shares with the keeping of its answer: it asks no vendor, and
    commits nothing as it goes."""
    keeps_answers: ClassVar[bool] = False
    """Whether the view itself sees to `Idempotency-Key`."""
    going: ClassVar[Going | None] = None
    """Set where the route is to go: its answers say so."""

    def permission_for(self, method: str) -> str:
        """The permission that this method takes."""
        verb = "read" if method in ("GET", "HEAD", "OPTIONS") else "change"
        return self.permissions.get(method, f"{self.resource}.{verb}")

    @property
    def owner(self) -> KeyOwner:
        """The key that calls, and whose it is."""
        return cast(KeyOwner, self.request.auth)

    @property
    def tenant_id(self) -> uuid.UUID:
        return self.owner.tenant_id

    @property
    def test_mode(self) -> bool:
        """Whether a test key calls: it sees and steers what belongs to the sandbox, and nothing else is there for it."""
        return not self.owner.livemode

    @property
    def actor(self) -> str:
        return f"key:{self.owner.hint}"

    def perform_authentication(self, request: Request) -> None:
        """Who calls, and whether not too often; before anything else is asked, as refused requests count too."""
        super().perform_authentication(request)
        super().check_throttles(request)

    def check_throttles(self, request: Request) -> None:
        """Done when the key was known."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.headers.get("Transfer-Encoding") and not request.META.get("CONTENT_LENGTH"):
            raise LengthRequired("Send the body with a Content-Length, not in chunks.")
        if request.method == "POST" and not self.keeps_answers:
            key = once.check_key(request.headers.get(once.HEADER))
            if key is None:
                self.before_post(request)
            elif (post := getattr(self, "post", None)) is not None:
                # Found before the class's own when DRF looks for who handles the request.
                vars(self)["post"] = functools.partial(self._post_once, key, post)

    def before_post(self, request: Request) -> None:
        """What a POST asks of others, ahead of its transaction, where it was not answered before; may refuse it."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if self.going is not None:
            for name, value in self.going.headers().items():
                response[name] = value
        return super().finalize_response(request, response, *args, **kwargs)

    def _post_once(self, key: str, post: Callable[..., Any], request: Request, **named: Any) -> HttpResponse:
        return once.answered_once(
            key=key,
            request_hash=once.hash_of(f"POST {request.path}", self.owner.livemode, request.data),
            view=lambda: post(request, **named),
            shown_once=self.shown_once,
            together=self.one_transaction,
            before=lambda: self.before_post(request),
        )


class Body(serializers.Serializer):
    """The shape of a body. Fields that are not declared are refused, so that a typing error does not go unseen."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [str(name) for name in data if name not in self.fields]
            if unknown:
                known = ", ".join(self.fields)
                raise serializers.ValidationError(
                    {name: [f"There is no such field here. Known: {known}."] for name in unknown[:MAX_ERRORS]}
                )
            wrong = {
                name: [wanted]
                for name, value in data.items()
                if value is not None and (wanted := _other_type(self.fields[name], value))
            }
            if wrong:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)


def _other_type(field: serializers.Field, value: Any) -> str:
    """What the field wants where the value has another JSON type; DRF would take 5 for "5" and the other way round."""
    match field:
        case serializers.ListField():
            found = (_other_type(field.child, item) for item in value) if isinstance(value, list) else ()
            return next((f"Each: {wanted}" for wanted in found if wanted), "")
        case serializers.BooleanField():
            return "" if isinstance(value, bool) else "True or false."
        case serializers.IntegerField():
            return "" if isinstance(value, int) and not isinstance(value, bool) else "A whole number."
        case serializers.FloatField():
            return "" if isinstance(value, int | float) and not isinstance(value, bool) else "A number."
        case serializers.DecimalField():  # takes no text at all for none
            return "A number." if isinstance(value, str) and not value.strip() else ""
        case serializers.CharField():
            return "" if isinstance(value, str) else "Text."
    return ""


def read_body(shape: type[Body], data: Any) -> dict[str, Any]:
    """The body in this shape. Raises InvalidInput naming each field that does not fit."""
    if not isinstance(data, Mapping):
        raise InvalidInput(
            "The body must be a JSON object.", errors=[{"field": "", "message": "Not a JSON object."}]
        )
    serializer = shape(data=data)
    if not serializer.is_valid():
        raise invalid(serializer.errors)
    return cast(dict[str, Any], serializer.validated_data)


def invalid(faults: Any) -> InvalidInput:
    """The error for faults as a serializer lists them, nested or not."""
    errors = [{"field": field, "message": message} for field, message in _flat(faults, "")][:MAX_ERRORS]
    first = errors[0]
    where = f"{first['field']}: " if first["field"] else ""
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return InvalidInput(f"{where}{first['message']}{more}", errors=errors)


def choice_of(request: Request, name: str, choices: Sequence[str]) -> str | None:
    """A query parameter out of these, or None. Raises InvalidInput."""
    value = request.query_params.get(name)
    if value is None or value in choices:
        return value
    message = f"Choose one out of: {', '.join(choices)}."
    raise InvalidInput(f"{name}: {message}", errors=[{"field": name, "message": message}])


def moment_of(request: Request, name: str) -> datetime | None:
    """A query parameter as a moment with a time zone, or None. Raises InvalidInput."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        # In an address a plus sign is a space.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+"))
        if moment.tzinfo is not None and 1970 < moment.year < 9999:
            return moment
    except (ValueError, OverflowError):
        pass
    message = "Write a moment like 2026-03-02T09:30:00Z."
    raise InvalidInput(f"{name}: {message}", errors=[{"field": name, "message": message}])


def _flat(faults: Any, path: str) -> Iterable[tuple[str, str]]:
    if isinstance(faults, Mapping):
        for name, inner in faults.items():
            here = "" if name == "non_field_errors" else _shown(str(name))
            yield from _flat(inner, f"{path}.{here}".strip("."))
    elif isinstance(faults, list | tuple):
        for inner in faults:
            yield from _flat(inner, path)
    else:
        yield path, str(faults)


def _shown(name: str) -> str:
    return name.encode(errors="replace").decode().replace("\0", "\ufffd")[:80]

"""The plan's limits on requests, named to DRF by a settings string."""

from typing import Any

from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from billing import rates
from tenants.queries import KeyOwner


class RateLimited(APIException):
    """More requests than the plan allows; `wait` is in seconds."""

    status_code = 429
    default_code = "rate_limited"

    def __init__(self, hit: rates.Policy) -> None:
        super().__init__(
            f"Over the limit “{hit.name}”: {hit}. Nothing was done; try again in {hit.next_free_s} s."
        )
        self.wait = hit.next_free_s


class PlanThrottle(BaseThrottle):
    """Counts each request that was made with a key. What the answer says of it is added by RateHeadersMiddleware."""

    def allow_request(self, request: Request, view: Any) -> bool:
        owner = request.auth
        if isinstance(owner, KeyOwner):
            verdict = rates.spend(owner.tenant_id, owner.key_id, livemode=owner.livemode)
            request._request.rate_verdict = verdict  # type: ignore[attr-defined]
            if verdict and verdict.hit:
                raise RateLimited(verdict.hit)
        return True

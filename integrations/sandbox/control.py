"""The control API under /_sandbox/: set keys, read what was called, switch faults on and off, start afresh."""

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import orjson
from aiohttp import web

from integrations.sandbox.accounts import Account, Accounts
from integrations.sandbox.faults import KINDS, SLOW_SECONDS, Fault, Faults
from integrations.sandbox.journal import Journal, Sums
from integrations.sandbox.limits import Window
from integrations.sandbox.stripe.forms import Refusal
from integrations.sandbox.stripe.server import Stripe

CALLS_AT_ONCE = 100_000


class Refused(Exception):
    """The request cannot be carried out; the message says why."""


class Control:
    def __init__(self, accounts: Accounts, journal: Journal, faults: Faults, stripe: Stripe) -> None:
        self.accounts = accounts
        self.stripe = stripe
        self.journal = journal
        self.faults = faults
        self._routes: dict[tuple[str, str], Callable[[web.BaseRequest, dict[str, Any]], Any]] = {
            ("GET", "health"): lambda request, body: {"status": "ok"},
            ("POST", "keys"): self._set_key,
            ("GET", "calls"): self._calls,
            ("GET", "summary"): self._summary,
            ("GET", "jobs"): self._jobs,
            ("GET", "faults"): self._show_faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "reset"): self._reset,
        }

    async def handle(self, request: web.BaseRequest, path: str) -> web.Response:
        if path.startswith("stripe/"):
            return await self._of_stripe(request, path.removeprefix("stripe/"))
        route = self._routes.get((request.method, path))
        if route is None:
            return _json({"error": "no such control"}, 404)
        try:
            return _json(route(request, _body(await request.read())))
        except Refused as refusal:
            return _json({"error": str(refusal)}, 400)

    async def _of_stripe(self, request: web.BaseRequest, path: str) -> web.Response:
        try:
            return _json(self.stripe.control(request.method, path, _body(await request.read())))
        except (KeyError, ValueError, StopIteration, Refused, Refusal) as problem:
            return _json({"error": f"{type(problem).__name__}: {problem}"}, 400)

    def _set_key(self, request: web.BaseRequest, body: dict[str, Any]) -> dict[str, Any]:
        """Changes what is given and leaves the rest; calls already counted go on counting."""
        account = self.accounts.get(self._provider(body), _text(body, "key"))
        gate = account.gate
        windows = _windows(body["windows"]) if "windows" in body else gate.windows
        parallelism = body.get("parallelism", gate.parallelism)
        if parallelism is not None:
            parallelism = int(_number(body, "parallelism", parallelism, least=1))
        gate.change(windows, parallelism)
        if "credits" in body:
            left = round(_number(body, "credits", body["credits"]) * 1000)
            account.pools = dict.fromkeys(account.pools, left)
        return _key_state(account)

    def _calls(self, request: web.BaseRequest, body: dict[str, Any]) -> list[dict[str, Any]]:
        query = request.query
        return list(
            self.journal.calls(
                provider=query.get("provider", ""),
                key=query.get("key", ""),
                since=int(_number(query, "since", query.get("since") or 0)),
                limit=int(_number(query, "limit", query.get("limit") or CALLS_AT_ONCE)),
            )
        )

    def _summary(self, request: web.BaseRequest, body: dict[str, Any]) -> dict[str, Any]:
        provider, key = request.query.get("provider", ""), request.query.get("key", "")
        summary: dict[str, Any] = {}
        for account in self.accounts.by_number:
            if (provider and account.provider != provider) or (key and account.key != key):
                continue
            total = summary.setdefault(account.provider, _nothing())
            for name, value in asdict(account.sums).items():
                total[name] += value
            total["max_in_flight"] = max(total["max_in_flight"], account.gate.max_in_flight)
            peaks = total["max_per_window"]
            for name, peak in account.gate.peaks().items():
                peaks[name] = max(peaks.get(name, 0), peak)
        for total in summary.values():
            total["credits"] /= 1000
        return summary

    def _jobs(self, request: web.BaseRequest, body: dict[str, Any]) -> list[dict[str, Any]]:
        return [job.told() for account in self.accounts.by_number for job in account.jobs.values()]

    def _show_faults(self, request: web.BaseRequest, body: dict[str, Any]) -> list[dict[str, Any]]:
        return [fault.told() for fault in self.faults.active]

    def _add_fault(self, request: web.BaseRequest, body: dict[str, Any]) -> dict[str, Any]:
        kind = _text(body, "kind")
        if kind not in KINDS:
            raise Refused(f"unknown kind {kind!r}; there are {', '.join(sorted(KINDS))}")
        count = body.get("count")
        fault = Fault(
            provider=self._provider(body),
            kind=kind,
            rate=_number(body, "rate", body.get("rate", 1.0)),
            left=None if count is None else int(_number(body, "count", count)),
            key=_text(body, "key") if "key" in body else "",
            seconds=_number(body, "seconds", body.get("seconds", SLOW_SECONDS)),
        )
        self.faults.add(fault)
        return fault.told()

    def _clear_faults(self, request: web.BaseRequest, body: dict[str, Any]) -> dict[str, Any]:
        self.faults.clear()
        return {"status": "ok"}

    def _reset(self, request: web.BaseRequest, body: dict[str, Any]) -> dict[str, Any]:
        """Forgets keys, calls and faults. Meant for a moment without calls."""
        self.faults.clear()
        self.accounts.reset()
        self.journal.reset()
        self.stripe.reset()
        return {"status": "ok"}

    def _provider(self, body: dict[str, Any]) -> str:
        provider = _text(body, "provider")
        if not self.accounts.has(provider):
            raise Refused(f"unknown provider {provider!r}")
        return provider


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


def _body(raw: bytes) -> dict[str, Any]:
    if not raw:
        return {}
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refused("the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refused("the body is not a JSON object")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(f"{name} is missing")
    return value


def _number(body: Any, name: str, value: Any, least: float = 0.0) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Refused(f"{name} is not a number") from None
    if not least <= number < 1e15:
        raise Refused(f"{name} is out of range")
    return number


def _windows(value: Any) -> tuple[Window, ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refused('windows is not a list of {"rate", "period"}')
    return tuple(
        Window(
            rate=int(_number(item, "rate", item.get("rate"))),
            period=_number(item, "period", item.get("period"), least=0.001),
            group=str(item.get("group") or ""),
        )
        for item in value
    )


def _key_state(account: Account) -> dict[str, Any]:
    return {
        "provider": account.provider,
        "key_hint": account.key[-4:],
        "windows": [
            {"rate": window.rate, "period": window.period, "group": window.group}
            for window in account.gate.windows
        ],
        "parallelism": account.gate.parallelism,
        "credits": {pool or "credits": left / 1000 for pool, left in account.pools.items()},
    }


def _nothing() -> dict[str, Any]:
    counts: dict[str, Any] = {field.name: 0 for field in fields(Sums)}
    return counts | {"max_in_flight": 0, "max_per_window": {}}

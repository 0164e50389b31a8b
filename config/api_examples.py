"""An example of every operation: what is sent and what comes back, by the operation's name in the schema.

tests/api/test_schema.py holds each of them to the shape that the schema gives it, and none may be missing.
"""

from typing import Any, Final

from config import webhook_examples

RUN_ID = "0198f0c2-7a10-7c3e-9d55-3b8f6a1e2c44"
RECORD_ID = "0198f0c2-7a11-7d20-8a07-51c2e9b4f0aa"
LANE_ID = "0198f0b0-11aa-7f10-b0c4-9e2d7a6b5c33"
CONNECTION_ID = "0198f0b0-11a9-7b52-8e6f-1f4d3c2b1a00"
KEY_ID = "0198f0a0-5c01-7e02-9a13-6d7c8b9a0f11"
UPLOAD_ID = "0198f0c1-0b2e-7a4d-8c90-2e3f4a5b6c77"
SUPPRESSION_ID = "0198f0d4-3e5f-7a6b-9c8d-0e1f2a3b4c88"
WORKFLOW_ID = "0198f0a0-4b00-7c01-8d02-7e6f5a4b3c99"
UPLOADED: Final = "first_name,last_name,domain\nAda,Byron,engines.example\nGrace,Hopper,compilers.example\n"

_CONTACT = {"first_name": "Ada", "last_name": "Byron", "domain": "engines.example"}
_CONFIG: dict[str, Any] = {
    "finders": ["prospeo", "findymail"],
    "verifier": "zerobounce",
    "accept": ["valid"],
    "max_credits_per_record": None,
    "reuse_days": 0,
    "on_outage": "wait",
    "max_attempts": 3,
    "backoff_s": 2,
    "timeout_s": 60,
}


def _run(status: str = "queued", **changes: Any) -> dict[str, Any]:
    counts = {
        "total": 1, "queued": 1, "running": 0, "found": 0, "not_found": 0, "done": 0, "failed": 0, "skipped": 0,
        "cancelled": 0,
    }  # fmt: skip
    return {
        "id": RUN_ID,
        "workflow": "email-waterfall",
        "name": "",
        "status": status,
        "livemode": True,
        "source": "api",
        "priority": 5,
        "records": counts,
        "credits": {"estimated": 3.0, "reserved": 0.0, "spent": 0.0, "limit": None},
        "error": None,
        "estimated_finish": "2026-03-02T09:30:04Z",
        "created_at": "2026-03-02T09:30:00.120000Z",
        "started_at": None,
        "finished_at": None,
        "metadata": {"crm_list": "spring"},
        **changes,
    }


_FINISHED: dict[str, Any] = {
    "records": {**_run()["records"], "queued": 0, "found": 1},
    "credits": {"estimated": 3.0, "reserved": 0.0, "spent": 2.0, "limit": None},
    "estimated_finish": None,
    "started_at": "2026-03-02T09:30:00.310000Z",
    "finished_at": "2026-03-02T09:30:02.870000Z",
}
_RECORD: dict[str, Any] = {
    "id": RECORD_ID,
    "position": 1,
    "status": "found",
    "input": _CONTACT,
    "output": {
        "email": "ada@engines.example",
        "email_status": "valid",
        "found_by": "prospeo",
        "verified_by": "zerobounce",
    },
    "error": None,
    "credits": 2.0,
}
_STEP: dict[str, Any] = {
    "name": "find:prospeo",
    "provider": "prospeo",
    "status": "done",
    "outcome": "hit",
    "attempt": 1,
    "http_status": 200,
    "latency_ms": 412,
    "credits": 1.0,
    "wait_reason": None,
    "ready_at": None,
    "started_at": "2026-03-02T09:30:00.310000Z",
    "finished_at": "2026-03-02T09:30:00.722000Z",
}
_LANE: dict[str, Any] = {
    "id": LANE_ID,
    "connection": CONNECTION_ID,
    "provider": "prospeo",
    "key_hint": "9f3c",
    "windows": [{"rate": 5, "period": 1.0}],
    "rate": 5,
    "period": 1.0,
    "parallelism": 5,
    "paused": False,
    "pinned": False,
    "bulk": False,
    "waiting": 120,
    "in_flight": 3,
    "started_last_period": 5,
    "oldest_waiting_s": 24.5,
    "wait_reason": "rate",
    "breaker": "closed",
    "breaker_until": None,
}
_CONNECTION: dict[str, Any] = {
    "id": CONNECTION_ID,
    "provider": "prospeo",
    "name": "Sales team",
    "mode": "live",
    "secret_hint": "9f3c",
    "windows": [{"rate": 5, "period": 1.0}],
    "parallelism": 5,
    "price_per_credit": "0.039000",
    "currency": "USD",
    "on_ambiguous": "repeat",
    "status": "ok",
    "balance": 1250.0,
    "balance_at": "2026-03-02T09:15:00Z",
    "low_balance": 200.0,
    "runs_out_at": "2026-03-05T18:00:00Z",
    "last_ok_at": "2026-03-02T09:29:58Z",
    "last_error": "",
    "lane": LANE_ID,
    "created_at": "2026-03-01T08:00:00Z",
}
_KEY: dict[str, Any] = {
    "id": KEY_ID,
    "name": "CRM sync",
    "hint": "wk_live_7Qd…x4Tz",
    "livemode": True,
    "scopes": ["read", "write"],
    "status": "active",
    "created_at": "2026-03-01T08:00:00Z",
    "expires_at": None,
    "last_used_at": None,
    "revoked_at": None,
    "replaces": None,
}
_PLAIN_KEY = "wk_live_" + "7Qd…x4Tz"
_WORKFLOW: dict[str, Any] = {
    "id": WORKFLOW_ID,
    "slug": "email-waterfall",
    "name": "Email waterfall",
    "template": "email-waterfall",
    "config": _CONFIG,
    "version": 1,
    "enabled": True,
    "created_at": "2026-03-01T08:00:00Z",
    "updated_at": "2026-03-01T08:00:00Z",
}
_SUPPRESSION: dict[str, Any] = {
    "id": SUPPRESSION_ID,
    "kind": "domain",
    "value": "competitor.example",
    "created_by": "key:wk_live_7Qd…x4Tz",
    "created_at": "2026-03-02T10:00:00Z",
}
_TENANT: dict[str, Any] = {
    "id": "0198f0a0-0000-7a00-8b00-5c6d7e8f9a0b",
    "name": "Analytical Engines Ltd",
    "plan": "pro",
    "monthly_credit_limit": 50000.0,
    "retention_days": 90,
    "suppress_subdomains": True,
    "created_at": "2026-03-01T08:00:00Z",
}


def _page(item: Any) -> dict[str, Any]:
    return {"data": [item], "next": None, "previous": None}


REQUESTS: Final[dict[str, Any]] = {
    "connections_create": {"provider": "prospeo", "secret": "your-vendor-key", "rate": 5, "period": 1, "parallelism": 5},
    "connections_update": {"parallelism": 10, "low_balance": 200, "on_ambiguous": "ask"},
    "workflows_create": {"template": "email-waterfall", "name": "Fast lane", "config": {"verifier": None}},
    "workflows_update": {"config": {"max_attempts": 5}},
    "keys_create": {"name": "CRM sync", "scopes": ["read", "write"]},
    "keys_rotate": {"overlap_seconds": 86400},
    "lanes_update": {"rate": 3, "period": 1, "parallelism": 2},
    "records_retry": {"mode": "resume", "input": {"domain": "engines.example"}},
    "runs_change": {"priority": 8},
    "runs_create": {
        "workflow": "email-waterfall", "records": [_CONTACT], "credit_limit": 10, "metadata": {"crm_list": "spring"},
    },
    "runs_retry": {"provider": "prospeo"},
    "suppressions_create": {"values": ["competitor.example", "ada@engines.example"]},
    "tenant_update": {"monthly_credit_limit": 50000, "retention_days": 90},
    "uploads_create": {"file": UPLOADED, "template": "email-waterfall"},
    **webhook_examples.REQUESTS,
}  # fmt: skip

ANSWERS: Final[dict[str, Any]] = {
    "audit_list": _page(
        {
            "id": "0198f0d0-1a2b-7c3d-8e4f-5a6b7c8d9e0f",
            "at": "2026-03-02T09:30:00.120000Z",
            "actor": "key:wk_live_7Qd…x4Tz",
            "verb": "run.accepted",
            "subject_type": "run",
            "subject_id": RUN_ID,
            "detail": {"records": 1, "livemode": True},
            "request_id": "J7pK2mXw9QzR4tVb6nYc8d",
            "ip": "192.0.2.17",
        }
    ),
    "connections_create": {
        **_CONNECTION,
        **dict.fromkeys(("balance", "balance_at", "low_balance", "runs_out_at", "last_ok_at")),
    },
    "connections_retrieve": _CONNECTION,
    "connections_update": {**_CONNECTION, "parallelism": 10, "on_ambiguous": "ask"},
    "connections_test": {"ok": True, "message": "", "latency_ms": 184, "connection": _CONNECTION},
    "connections_list": _page(_CONNECTION),
    "keys_create": {**_KEY, "key": _PLAIN_KEY},
    "keys_list": _page(_KEY),
    "keys_rotate": {**_KEY, "replaces": "0198f09f-0b1c-7d2e-8f30-4a5b6c7d8e9f", "key": _PLAIN_KEY},
    "lanes_list": _page(_LANE),
    "lanes_pause": {**_LANE, "paused": True, "wait_reason": "paused"},
    "lanes_resume": _LANE,
    "lanes_retrieve": _LANE,
    "lanes_update": {
        **_LANE, "windows": [{"rate": 3, "period": 1.0}], "rate": 3, "parallelism": 2, "pinned": True,
    },
    "records_discard": {**_RECORD, "status": "skipped", "output": None, "credits": 0.0, "steps": []},
    "records_list": _page(_RECORD),
    "records_retrieve": {**_RECORD, "steps": [_STEP, {**_STEP, "name": "verify:zerobounce", "provider": "zerobounce"}]},
    "records_retry": {**_RECORD, "status": "queued", "output": None, "credits": 0.0, "steps": []},
    "results_csv": (
        "first_name,last_name,domain,status,email,email_status,found_by,verified_by,credits,error\r\n"
        "Ada,Byron,engines.example,found,ada@engines.example,valid,prospeo,zerobounce,2.000,\r\n"
    ),
    "results_jsonl": (
        f'{{"id": "{RECORD_ID}", "position": 1, "status": "found", "input": {{"first_name": "Ada"}}, '
        '"output": {"email": "ada@engines.example"}, "error": null, "credits": 2.0}\n'
    ),
    "results_xlsx": "(an Excel workbook)",
    "runs_cancel": _run("cancelled", **{**_FINISHED, "records": {**_run()["records"], "queued": 0, "cancelled": 1}}),
    "runs_change": _run(priority=8),
    "runs_create": _run(),
    "runs_list": _page(_run("completed", **_FINISHED)),
    "runs_pause": _run("paused"),
    "runs_resume": _run("running", started_at="2026-03-02T09:30:00.310000Z"),
    "runs_retrieve": _run("completed", **_FINISHED),
    "runs_retry": _run("running", started_at="2026-03-02T09:30:00.310000Z"),
    "suppressions_create": {"data": [_SUPPRESSION], "added": 1, "known": 1},
    "suppressions_list": _page(_SUPPRESSION),
    "templates_list": _page(
        {
            "slug": "email-waterfall",
            "title": "Email waterfall",
            "description": "Asks one vendor after the other until one finds an address that another calls valid.",
            "fields": ["first_name", "last_name", "full_name", "company", "domain", "linkedin_url"],
            "config_schema": {"type": "object"},
            "default_config": _CONFIG,
        }
    ),
    "tenant_retrieve": _TENANT,
    "tenant_update": _TENANT,
    "uploads_create": {
        "id": UPLOAD_ID,
        "filename": "contacts.csv",
        "columns": ["first_name", "last_name", "domain"],
        "rows": 2,
        "blank_lines": 0,
        "guessed_mapping": {"first_name": "first_name", "last_name": "last_name", "domain": "domain"},
        "sample": [_CONTACT],
        "errors": [],
        "error_count": 0,
    },
    "usage_retrieve": {
        "period": "2026-03",
        "records": 12400,
        "vendor_calls": 31877,
        "credits": 22150.5,
        "api_calls": 913,
        "quota": {
            "records_included": 100000, "records_used": 12400, "records_remaining": 87600, "records_over": 0,
            "overage_allowed": True,
        },
        "limits": {
            "plan": "pro", "requests_per_second": 1000, "requests_per_minute": 60000, "lanes": 100, "seats": 25,
        },
        "vendors": [{"provider": "prospeo", "calls": 12400, "credits": 10020.0}],
        "workflows": [
            {
                "workflow": "email-waterfall", "name": "Email waterfall", "records": 12400, "vendor_calls": 31877,
                "credits": 22150.5,
            }
        ],
        "days": [{"day": "2026-03-02", "records": 12400, "vendor_calls": 31877, "credits": 22150.5}],
    },
    **webhook_examples.ANSWERS,
    "workflows_list": _page(_WORKFLOW),
    "workflows_create": {**_WORKFLOW, "slug": "fast-lane", "name": "Fast lane"},
    "workflows_retrieve": _WORKFLOW,
    "workflows_update": {**_WORKFLOW, "version": 2},
}  # fmt: skip

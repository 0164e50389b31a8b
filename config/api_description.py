"""What the API's documentation says before its routes."""

API_DESCRIPTION = """
Weir runs records through workflows of vendors, with your own keys, and never faster than a key allows.

**Keys.** `Authorization: Bearer wk_…`, or `X-API-Key`. Scopes: `read`, `write` (runs, uploads), `admin` (connections,
lanes, keys, settings, the audit trail). Replace a key with POST /keys/{id}/rotate: both work until the overlap ends.

**Test mode.** A `wk_test_` key reaches sandbox connections alone and is not metered. It sees and steers test runs,
sandbox connections, their lanes, and test keys; whatever is live is not there for it.

**Errors** are `application/problem+json` (RFC 9457). `code` is for programs and stays the same; `errors` names the
fields. Every answer has an `X-Request-Id`: name it when you ask about one. 503 `unavailable` may be tried again.

**Limits.** Your plan says how many requests a key may make in any second and all keys together in any minute. Each answer
says how you stand: `X-RateLimit-Limit`, `-Remaining` and `-Reset` (Unix time when the whole limit is free again) of the
minute, `RateLimit-Policy` and `RateLimit` of both. 429 `rate_limited` names the limit that was hit, has done nothing, and
says in `Retry-After` when to come back. 402 `quota_exceeded`: the month's records are used up.

**Lists** hold `data`, `next` and `previous`: whole addresses, to be used as they are.

**Credits** are the vendors' own, as JSON numbers with at most three decimal places. In bodies they may be text too.

**Sending twice.** Every POST takes an `Idempotency-Key`: the same key and body again within 24 hours get the same answer,
with `Idempotency-Replayed: true`, and have no second effect. What is shown once is null in the repeated answer. Refused
requests are not kept, so that one may be put right and sent again under its key.

**Faulty records** do not stop the others: each becomes a failed record that says what is wrong with it.
""".strip()

"""The codes in docs/api/errors.md are the codes there are: no more, no fewer, each with its status and title."""

import ast

import workflows.csv_in  # noqa: F401
from config import problems
from config.api_errors import CODES, read_codes
from config.env import BASE_DIR
from tenants.errors import WeirError

# Of commands, exports and the console: no request of the API ends in them.
ELSEWHERE = {
    "error", "scope_error", "login_too_powerful", "export_taken_over", "export_expired", "admin_refused", "env_invalid",
    "billing_off", "card_refused", "no_seat_left",
    "secret_unreadable", "stripe_away", "stripe_duplicate", "stripe_refused", "unknown_plan",
}  # fmt: skip
APPS = ("config", "tenants", "integrations", "billing", "workflows")
# Whose first argument, or `code`, is one; what else is called `code` is about records, rows or processes.
RAISERS = {"UploadRefused", "UploadRejected", "MappingFault", "InvalidKey", "PermissionDenied", "Throttled"}


def classes(base=WeirError):
    for kind in base.__subclasses__():
        yield kind
        yield from classes(kind)


def literals():
    """Codes that stand in the code as text: in what raises them, and in calls of `problem`."""
    for app in APPS:
        for path in (BASE_DIR / app).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield from codes_of(node)


def codes_of(call):
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    texts = [a.value if isinstance(a, ast.Constant) else None for a in call.args]
    if name in RAISERS:
        named = [
            k.value.value for k in call.keywords if k.arg == "code" and isinstance(k.value, ast.Constant)
        ]
        yield from named
        if name in ("UploadRejected", "MappingFault") and texts and texts[0]:
            yield texts[0]
    elif name == "problem" and len(texts) > 2 and isinstance(texts[1], int) and texts[2]:
        yield texts[2]


def test_the_list_names_every_code_there_is_and_no_other():
    named = {code for code, _ in problems._NAMES.values()}
    own = {kind.code for kind in classes() if kind.__module__.split(".")[0] in APPS}
    there_are = {*named, *own, *literals()} - ELSEWHERE
    there_are -= {"too_large"}  # becomes payload_too_large
    listed = set(CODES)
    assert there_are - listed == set(), "Write them into docs/api/errors.md: what happened, and what to do."
    assert listed - there_are == set(), "docs/api/errors.md lists what nothing raises."


def test_status_and_title_are_those_of_the_code():
    for kind in classes():
        if "code" in vars(kind) and kind.code in CODES and kind.status < 500:
            status, title, *_ = CODES[kind.code]
            assert status == kind.status, kind
            assert title == kind.title, kind
    for code, title in problems._NAMES.values():
        assert CODES[code][1] == title, code


def test_each_says_what_happened_and_what_to_do():
    assert len(CODES) > 40
    assert read_codes() == CODES
    lines = [
        line for line in (BASE_DIR / "docs/api/errors.md").read_text().splitlines() if line.startswith("| `")
    ]
    assert len(lines) == len(CODES)

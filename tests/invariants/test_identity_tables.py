"""People, sessions and second factors have no tenant, so no policy holds there: account code alone touches them.

Touching is to use a model of theirs (but in an annotation), to cross a relation into one, or to name one's table.
What is read from a row that is in memory already (`request.user.email`) is not seen here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.env import BASE_DIR
from tenants.classes import WALLED, class_of, models_by_table, relations

PACKAGES = ("config", "workflows", "billing", "integrations", "tenants")

# Account code, and what each module has to do with people. A module that is not here and touches them fails.
ACCOUNT_CODE = {
    "config/demo/setup.py": "makes the demo's owner and its operator",
    "config/ops_login.py": "asks staff for their second factor",
    "config/second_factors.py": "seals second factors anew under the newest master key",
    "tenants/admin/people.py": "people in the ops console",
    "tenants/admin/tenants.py": "a tenant's members in the ops console",
    "tenants/erasure.py": "takes a tenant out of sessions and of the console's log",
    "tenants/export/tables.py": "a tenant's members in its export",
    "tenants/management/commands/create_tenant.py": "makes the owner of a new tenant",
    "tenants/management/commands/reset_second_factor.py": "the way back for who lost a second factor",
    "tenants/middleware.py": "when a session was last seen",
    "tenants/models.py": "defines them, and whose a membership, key or invitation is",
    "tenants/operations/accounts.py": "closing an account",
    "tenants/operations/invitations.py": "asks whether an address is a member's, and proven",
    "tenants/operations/people.py": "making people, ending their sessions",
    "tenants/operations/team.py": "members, by their addresses",
    "tenants/rls.py": "what the lookup functions may read of a person",
    "tenants/team_queries.py": "a tenant's members, and whether they have a second factor",
    "tenants/web/account_forms.py": "proving who one is before what cannot be undone",
    "workflows/web/developers.py": "who made an API key",
}

IDENTITY = {table: model for table, model in models_by_table().items() if class_of(model) == "identity"}
NAMES = {model.__name__ for model in IDENTITY.values()}
TABLES = re.compile(rf"\b({'|'.join(sorted(IDENTITY))})\b")
# The relations of tenants' tables that lead to people: "user", "created_by", …
CROSSINGS = {
    field.name
    for model in models_by_table().values()
    if class_of(model) in WALLED
    for field, target in relations(model)
    if class_of(target) == "identity"
}
_FOLLOWS = {"select_related", "prefetch_related"}
_TYPES_ONLY = {"cast", "isinstance", "issubclass"}


def touches(source: str) -> list[str]:
    """What of a module's source touches identity tables, by line."""
    tree = ast.parse(source)
    _drop_annotations(tree)
    imported = dict(_imported(tree))
    return [f"{line}: {what}" for node in ast.walk(tree) for line, what in _of_node(node, imported)]


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The names in this module that are identity models, however they were imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2] == "models":
            yield from ((name.asname or name.name, name.name) for name in node.names if name.name in NAMES)
        elif isinstance(node, ast.ClassDef) and node.name in NAMES:
            yield node.name, node.name


def _of_node(node: ast.AST, imported: dict[str, str]) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in imported:
        yield node.lineno, f"uses {imported[node.id]}"
    elif (
        isinstance(node, ast.Attribute)
        and node.attr in NAMES
        and isinstance(node.value, ast.Name | ast.Attribute)
    ):
        if ast.unparse(node.value).endswith("models"):
            yield node.lineno, f"uses {node.attr}"
    elif isinstance(node, ast.Call):
        called = ast.unparse(node.func).rpartition(".")[2]
        strings = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if called == "get_user_model" or (
            called == "get_model" and NAMES & {s.rpartition(".")[2] for s in strings}
        ):
            yield node.lineno, f"uses {called}"
        crossed = [s for s in strings if s in CROSSINGS] if called in _FOLLOWS else []
        crossed += [k.arg for k in node.keywords if k.arg and _crosses(k.arg)]
        yield from ((node.lineno, f"follows {name}") for name in crossed)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if _crosses(node.value):
            yield node.lineno, f"follows {node.value}"
        elif found := TABLES.search(node.value):
            yield node.lineno, f"names {found.group()}"


def _crosses(lookup: str) -> bool:
    """`user__email` and the like; the key itself is the tenant's own column."""
    lookup = lookup.removeprefix("-")
    first, _, rest = lookup.partition("__")
    return (
        first in CROSSINGS
        and bool(rest)
        and rest not in ("isnull", "in", "id", "pk")
        and lookup.isidentifier()
    )


def _drop_annotations(tree: ast.AST) -> None:
    """Naming a type, and saying that a value is of one, asks the database nothing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.Subscript):
            node.slice = ast.Constant(None)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _TYPES_ONLY:
            node.args = [arg for arg in node.args if not isinstance(arg, ast.Name) or arg.id not in NAMES]
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and ast.get_docstring(node):
            del node.body[0]


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((BASE_DIR / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def test_account_code_alone_touches_identity_tables() -> None:
    found = {path.relative_to(BASE_DIR).as_posix(): touches(path.read_text()) for path in modules()}
    assert len(found) > 150
    strangers = {path: lines for path, lines in found.items() if lines and path not in ACCOUNT_CODE}
    assert strangers == {}, (
        "Ask account code (tenants/operations/people.py, tenants/team_queries.py) instead, or say in ACCOUNT_CODE why."
    )
    assert [path for path in ACCOUNT_CODE if not found.get(path)] == [], "These touch nothing any more."


def test_the_list_covers_what_the_libraries_bring() -> None:
    assert {"tenants_user", "django_session", "account_emailaddress", "mfa_authenticator"} <= IDENTITY.keys()
    assert {"user", "created_by", "invited_by"} <= CROSSINGS


@pytest.mark.parametrize(
    "source",
    [
        "from tenants.models import User\nUser.objects.all()",
        "from tenants.models import Tenant, User as Person\nfind(Person)",
        "from tenants import models\nmodels.User.objects.all()",
        "import allauth.mfa.models\nallauth.mfa.models.Authenticator.objects.all()",
        "from django.contrib.sessions.models import Session\nSession.objects.all()",
        "from django.contrib.auth import get_user_model\nget_user_model()",
        "apps.get_model('tenants', 'User')",
        "apps.get_model('tenants.User')",
        "Membership.objects.filter(user__email='x')",
        "Membership.objects.order_by('-user__email')",
        "Membership.objects.values('user__email')",
        "ApiKey.objects.select_related('created_by')",
        "cursor.execute('SELECT * FROM tenants_user')",
        "SQL = f'DELETE FROM public.django_session WHERE {x}'",
    ],
)
def test_touching_is_noticed(source: str) -> None:
    assert touches(source)


@pytest.mark.parametrize(
    "source",
    [
        "from tenants.models import User\ndef f(user: User) -> User | None: ...",
        "from tenants.models import User\nperson = cast(User, request.user)",
        "from tenants.models import User\nrows: list[User] = []",
        "from tenants.models import Membership\nMembership.objects.filter(user=person, user_id__in=ids)",
        '"""Says what tenants_user is for."""',
        "Session = make()\nSession.run()",
    ],
)
def test_naming_a_type_is_not_touching(source: str) -> None:
    assert touches(source) == []

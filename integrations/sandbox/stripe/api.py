"""What every route of v1 has: lists newest first, pages of them, and `expand` on every object."""

import re
from collections.abc import Callable
from typing import Any

from integrations.sandbox.stripe import shapes
from integrations.sandbox.stripe.book import Book, copied
from integrations.sandbox.stripe.forms import Refusal, missing, whole
from integrations.sandbox.stripe.shapes import Row

Handler = Callable[["Api", Row, tuple[str, ...]], Row]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []
EXPANDABLE = {
    "customer": "customer", "subscription": "subscription", "latest_invoice": "invoice", "invoice": "invoice",
    "default_payment_method": "payment_method", "product": "product", "price": "price",
}  # fmt: skip
MOST_LISTED = 100


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """`{}` in a path stands for an id."""
    pattern = re.compile("/v1/" + re.escape(path).replace(r"\{\}", r"([^/]+)") + "$")

    def keep(handler: Handler) -> Handler:
        ROUTES.append((method, pattern, handler))
        return handler

    return keep


class Api:
    """All of v1 that billing needs, over one book. `url` is where the hosted pages are."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.url = ""

    def answer(self, method: str, path: str, params: Row) -> Row:
        """Carry a request out. Raises Refusal."""
        for verb, pattern, handler in ROUTES:
            found = pattern.match(path)
            if verb == method and found:
                wanted = params.pop("expand", [])
                row = handler(self, params, found.groups())
                return self._expanded(row, wanted) if wanted else row
        raise Refusal(f"Unrecognized request URL ({method}: {path}).", status=404)

    def listed(self, rows: list[Row], params: Row, url: str, fields: tuple[str, ...] = ()) -> Row:
        """A page of these rows, which are newest first."""
        for field in fields:
            if field in params:
                rows = [row for row in rows if str(row.get(field)).lower() == str(params[field]).lower()]
        if isinstance(params.get("created"), dict):
            least = whole(params["created"], "gte", 0) or 0
            rows = [row for row in rows if row["created"] >= least]
        limit = min(whole(params, "limit", 10) or 10, MOST_LISTED)
        ids = [row["id"] for row in rows]
        for cursor in ("starting_after", "ending_before"):
            if params.get(cursor) and params[cursor] not in ids:
                raise missing("object", params[cursor], cursor)
        if params.get("starting_after"):
            rows = rows[ids.index(params["starting_after"]) + 1 :]
        elif params.get("ending_before"):
            rows = rows[: ids.index(params["ending_before"])]
            return shapes.listed(rows[-limit:], url, more=len(rows) > limit)
        return shapes.listed(rows[:limit], url, more=len(rows) > limit)

    def _expanded(self, row: Row, wanted: list[str]) -> Row:
        row = copied(row)
        for path in wanted:
            self._expand(row, path.split("."))
        return row

    def _expand(self, node: Any, path: list[str]) -> None:
        if isinstance(node, list):
            for each in node:
                self._expand(each, path)
        elif isinstance(node, dict) and path:
            value = node.get(path[0])
            if isinstance(value, str) and path[0] in EXPANDABLE:
                value = node[path[0]] = copied(self.book.get(EXPANDABLE[path[0]], value))
            elif path[0] == "tiers" and node.get("object") == "price":
                node["tiers"] = self.book.hidden(node["id"]).get("tiers")
            self._expand(value, path[1:])


def change_fields(book: Book, row: Row, params: Row, names: tuple[str, ...]) -> Row:
    """Set what an update may set; returns what was before."""
    before = {}
    for name in names:
        if name not in params:
            continue
        before[name] = copied({"v": row[name]})["v"]
        if name == "metadata":
            row[name] = {k: v for k, v in {**row[name], **(params[name] or {})}.items() if v != ""}
        else:
            row[name] = params[name] if params[name] != "" else None
    return before

"""Pages of big tables: counted exactly while there is little to count, estimated beyond that."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from django.core.paginator import Paginator
from django.db import OperationalError, connections, transaction
from psycopg import errors

EXACT_UP_TO = 1_000
MOST_PAGES = 100  # a page by number reads everything before it: nobody leafs further than this


class EstimatedPaginator(Paginator):
    """Counts at most EXACT_UP_TO rows, for half a second at most; what is more is the planner's estimate."""

    template_name = "admin/ops/pagination.html"
    estimated = False

    @cached_property
    def count(self) -> int:
        found = _counted(self.object_list)
        if found is not None and found <= EXACT_UP_TO:
            return found
        self.estimated = True
        return max(_planned(self.object_list), EXACT_UP_TO + 1)

    @cached_property
    def num_pages(self) -> int:
        return max(1, min(-(-self.count // self.per_page), MOST_PAGES))

    @property
    def capped(self) -> bool:
        """Whether there are rows that no page shows."""
        return self.count > MOST_PAGES * self.per_page


@contextmanager
def patience(alias: str, milliseconds: int) -> Iterator[None]:
    """Statements of this login that take longer than this raise OperationalError."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SET statement_timeout = %s", [milliseconds])
    try:
        yield
    finally:
        with connections[alias].cursor() as cursor:
            cursor.execute("RESET statement_timeout")


def ran_out_of_patience(error: OperationalError) -> bool:
    return isinstance(error.__cause__, errors.QueryCanceled)


def _counted(queryset: Any) -> int | None:
    """How many rows there are, at most one more than EXACT_UP_TO; None when counting them takes too long."""
    try:
        with transaction.atomic(using=queryset.db), connections[queryset.db].cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 500")
            return int(queryset.order_by()[: EXACT_UP_TO + 1].count())
    except OperationalError as error:
        if ran_out_of_patience(error):
            return None
        raise


def _planned(queryset: Any) -> int:
    """How many rows the planner expects. Runs nothing."""
    plain = queryset.order_by().values("pk").query
    sql, parameters = plain.get_compiler(using=queryset.db).as_sql()
    with connections[queryset.db].cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        return int(cursor.fetchone()[0][0]["Plan"]["Plan Rows"])

"""Looking host names up for the sender: by the system's resolver, in threads, and not more of them at once for a tenant
than leave enough for the others."""

import asyncio
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from integrations.webhooks.addresses import RefusedAddress, look_up

THREADS = 64
PER_TENANT = 4
TIMEOUT_S = 5.0
"""The resolver may take longer; it keeps its thread for as long, and its tenant the turn."""
TURN_S = 1.0
"""What waits holds one of the sender's places, and uses up no attempt: it is to come again later (settle.UNTRIED_AGAIN_S)
rather than to wait."""
SLOW = f"the name servers did not answer within {TIMEOUT_S:g} s"

Found = list[str]


class NoTurn(Exception):
    """Nobody was asked: the tenant's other names, or everybody's, are still being looked up."""


class Names:
    """Belongs to one event loop. The same name asked for by a tenant several times at once is looked up once."""

    def __init__(self, look_up: Callable[[str, int], Found] | None = None) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="webhook-names")
        self._turns: weakref.WeakValueDictionary[uuid.UUID, asyncio.Semaphore] = weakref.WeakValueDictionary()
        self._asked: dict[tuple[uuid.UUID, str, int], asyncio.Task[Found]] = {}

    async def find(self, tenant_id: uuid.UUID, host: str, port: int) -> Found:
        """All addresses of a name. Raises RefusedAddress when there is none or nobody answers in time, and NoTurn."""
        key = (tenant_id, host, port)
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._ask(*key))
            task.add_done_callback(lambda _: self._asked.pop(key))
        return await asyncio.shield(task)

    def close(self) -> None:
        """Let go of what is not begun; nobody waits for the rest."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, tenant_id: uuid.UUID, host: str, port: int) -> Found:
        turn = self._turns.get(tenant_id)
        if turn is None:
            turn = self._turns[tenant_id] = asyncio.Semaphore(PER_TENANT)
        try:
            async with asyncio.timeout(TURN_S):
                await turn.acquire()
        except TimeoutError:
            raise NoTurn from None
        loop = asyncio.get_running_loop()

        def done(_: Future[Found]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(turn.release)

        asking = self._threads.submit(self._look_up or look_up, host, port)
        asking.add_done_callback(done)
        answer = asyncio.wrap_future(asking)
        answer.add_done_callback(lambda late: late.cancelled() or late.exception())  # nobody may wait by then
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.shield(answer)
        except TimeoutError:
            if asking.cancel():
                raise NoTurn from None
            raise RefusedAddress(SLOW) from None

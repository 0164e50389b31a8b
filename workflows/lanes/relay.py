"""Tells the runners of other processes of lanes, through Redis' publish and subscribe: that one of theirs has work, or
that one with work is free.

A ring reaches one worker, whichever; the lane may be another's. A message that gets lost costs one look (lease.py) or one
sweep, never the work; so does a Redis that is away. Messages are ids of lanes, and nothing is kept.
"""

import asyncio
import uuid
from collections.abc import Callable, Collection, Iterable

import redis.asyncio
import structlog
from django.conf import settings
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

ASKED, FREE = "weir:lanes-with-work", "weir:lanes-offered"
GATHER_S = 0.01
AGAIN_S = 2.0
LISTEN_S = 30.0


class Relay:
    """Made and used on a runner's loop. `asked` is called with each lane that some runner asks others to look at, `free`
    with each that has work and that nobody holds, as some runner says."""

    def __init__(
        self, asked: Callable[[uuid.UUID], None], free: Callable[[uuid.UUID], None] = lambda lane_id: None
    ) -> None:
        self._mine = uuid.uuid4().bytes
        self._told = {ASKED.encode(): asked, FREE.encode(): free}
        self._lanes: set[uuid.UUID] = set()
        self._due = asyncio.Event()
        # No answer for half a second is as good as none: the next look finds the work.
        self._redis = redis.asyncio.Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=1.0, socket_timeout=0.5, health_check_interval=0
        )

    def ask(self, lane_id: uuid.UUID) -> None:
        """Whoever holds this lane is to look at it."""
        self._lanes.add(lane_id)
        self._due.set()

    async def offer(self, lane_ids: Iterable[uuid.UUID]) -> int:
        """Whoever has room is to take these lanes, which nobody holds; how many runners were told, this one included if it
        listens."""
        return await self._publish(FREE, set(lane_ids), sender=self._mine)

    async def speak(self) -> None:
        """Pass on what is asked, many lanes in one message; runs until it is cancelled."""
        while True:
            await self._due.wait()
            await asyncio.sleep(GATHER_S)
            self._due.clear()
            lanes, self._lanes = self._lanes, set()
            await self._publish(ASKED, lanes)

    async def _publish(self, channel: str, lanes: Collection[uuid.UUID], *, sender: bytes = b"") -> int:
        if not lanes:
            return 0
        try:
            return int(await self._redis.publish(channel, sender + b"".join(lane.bytes for lane in lanes)))
        except (RedisError, OSError) as error:
            log.warning("lanes_not_told", channel=channel, lanes=len(lanes), error=type(error).__name__)
            return 0

    async def listen(self) -> None:
        """Hear what others ask; runs until it is cancelled."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as heard:
                    await heard.subscribe(ASKED, FREE)
                    while True:
                        message = await heard.get_message(timeout=LISTEN_S)
                        if message:
                            self._hear(message["channel"], message["data"])
            except (RedisError, OSError) as error:
                log.warning("lanes_not_heard", error=type(error).__name__)
                await asyncio.sleep(AGAIN_S)

    def _hear(self, channel: bytes, data: bytes) -> None:
        if channel == FREE.encode():
            sender, data = data[:16], data[16:]
            if sender == self._mine:
                return
        for start in range(0, len(data) - len(data) % 16, 16):
            self._told[channel](uuid.UUID(bytes=data[start : start + 16]))

    async def close(self) -> None:
        await self._redis.aclose()

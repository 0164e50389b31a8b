"""Reads a vendor's answer within limits: it may be endless, lie about its length, or be a compression bomb."""

import zlib

from aiohttp import ClientResponse

MAX_BODY = 1 << 20


class BadAnswer(Exception):
    """An answer that we refuse to read; the message is a fixed phrase."""


async def read_body(response: ClientResponse) -> bytes:
    """The whole body, decompressed, neither form above MAX_BODY."""
    if (response.content_length or 0) > MAX_BODY:
        response.close()
        raise BadAnswer("the answer is too long")
    content = response.content
    body = await content.readany()
    if not content.at_eof():
        chunks, size = [body], len(body)
        while chunk := await content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY:
                response.close()
                raise BadAnswer("the answer is too long")
        body = b"".join(chunks)
    encoding = response.headers.get("Content-Encoding")
    return body if encoding is None else _decompress(body, encoding.strip().lower())


def _decompress(body: bytes, encoding: str) -> bytes:
    """We ask for plain answers; some servers compress all the same."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BadAnswer("the answer has an unknown encoding")
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        plain = unpack.decompress(body, MAX_BODY)
    except zlib.error:
        raise BadAnswer("the answer is badly compressed") from None
    if unpack.unconsumed_tail:
        raise BadAnswer("the answer is too long")
    if not unpack.eof:
        raise BadAnswer("the answer is badly compressed")
    return plain

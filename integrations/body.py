"""Unpacks a vendor's answer within limits: it may be a compression bomb."""

import zlib

MAX_BODY = 1 << 20


class BadAnswer(Exception):
    """An answer that we refuse to read; the message is a fixed phrase."""


def unpack(body: bytes, encoding: str, most: int = MAX_BODY) -> bytes:
    """The plain body, at most `most` bytes; raises BadAnswer.

    We ask for plain answers; some servers compress all the same.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BadAnswer("the answer has an unknown encoding")
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        plain = unpacking.decompress(body, most)
    except zlib.error:
        raise BadAnswer("the answer is badly compressed") from None
    if unpacking.unconsumed_tail:
        raise BadAnswer("the answer is too long")
    if not unpacking.eof:
        raise BadAnswer("the answer is badly compressed")
    return plain

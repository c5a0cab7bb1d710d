"""Seals: keyed digests that tell our own stored payloads from damaged, foreign or forged ones.

What belongs here: signing and verifying bytes under a secret. What does not: where the secret comes from
(`secret.py`), and what to do about a broken seal (a miss and an alert, decided by whoever read the payload).
A seal covers where the payload belongs too, so one that was copied to another key, kind or tenant does not verify.
"""

import hmac
import struct
from collections.abc import Callable
from hashlib import blake2b

SEAL_BYTES = 32
SHORTEST_SECRET = 16
_SMALL = 4096
_LENGTH = struct.Struct("<I").pack
_LONG = struct.Struct("<Q").pack


def header(*parts: str) -> bytes:
    """Where a payload belongs, each part behind its length, so that no two lists of parts give the same bytes."""
    told = b""
    for part in parts:
        encoded = part.encode() if part.isascii() else part.encode("utf-8", "surrogatepass")
        told += _LENGTH(len(encoded)) + encoded
    return told


class Seal:
    """Signs and verifies under one secret; safe for threads."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(f"a secret has {SHORTEST_SECRET} bytes or more")
        # A secret may be longer than the 64 bytes a BLAKE2b key has.
        key = blake2b(secret, digest_size=64, person=b"retention-seal").digest()
        self._keyed = blake2b(key=key, digest_size=SEAL_BYTES)

    def sign(self, header: bytes, payload: bytes) -> bytes:
        """The digest of a payload that belongs where `header` says, 32 bytes."""
        digest = self._keyed.copy()
        if len(payload) < _SMALL:
            # One call costs less than the copy it needs.
            digest.update(b"".join((_LONG(len(header)), header, payload)))
        else:
            digest.update(_LONG(len(header)) + header)
            digest.update(payload)
        return digest.digest()

    def signer(self, place: bytes) -> Callable[[bytes, bytes], bytes]:
        """What signs many payloads whose headers begin with `place`: given how a header ends, and the payload."""
        copy, begin = self._keyed.copy, len(place)

        def sign(end: bytes, payload: bytes) -> bytes:
            digest = copy()
            digest.update(b"".join((_LONG(begin + len(end)), place, end, payload)))
            return digest.digest()

        return sign

    def verify(self, header: bytes, payload: bytes, signature: bytes) -> bool:
        """Whether `signature` is that of this payload in this place; takes the same time either way."""
        return hmac.compare_digest(self.sign(header, payload), signature)

"""The codec: a value as bytes and back, exactly, or not at all. No pickle.

What belongs here: two encodings of our own (`json1` for plain values, `tree1` for everything else), one module per
family of types, and `encode` and `decode` over them. What does not: signing (`postgres.seal`), where the bytes go.
`encode` refuses (`Unstorable`) what it could not give back with the same type and value; `decode` trusts nothing: it
checks a sum over the bytes, checks every length before it allocates, runs no code of the stored classes and imports no
module.
"""

from retention_pipelines.cache.codec.payload import decode, encode
from retention_pipelines.cache.codec.wire import Fetch, Spill, UnknownClass

__all__ = ["Fetch", "Spill", "UnknownClass", "decode", "encode"]

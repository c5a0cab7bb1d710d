"""Keys: a call as one digest. Two calls share a key exactly when the function cannot tell them apart.

What belongs here: the typed, length-prefixed encoding of values (`encoding`, with one module per library), what a
function and a class are called and which code they run (`identity`), and the key of a call (`function`). What does not:
what a tier does with a key. In doubt two values get different keys (a miss), and what cannot be encoded raises
`Unkeyable`: nothing is guessed from `str()` or `repr()` of an unknown object.
"""

from retention_pipelines.cache.keys.encoding import encode
from retention_pipelines.cache.keys.function import FunctionKeys
from retention_pipelines.cache.keys.identity import code_version

__all__ = ["FunctionKeys", "code_version", "encode"]

"""A process that uses decorated functions; started by test_cache_decorators.py with its settings in the environment."""

import faulthandler
import itertools
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from retention_pipelines import cache_features, caching
from retention_pipelines.cache import runtime

ran: list[str] = []


@cache_features("spatial", "occurrences", version="1", key=("x",))
def features(x: str) -> dict[str, str]:
    """What the tests cache."""
    ran.append(x)
    time.sleep(0.3 if x == "slow" else 0.0)
    return {"x": x}


@cache_features("spatial", "occurrences", version="1", write="through")
def written(x: str) -> str:
    """Stored before it returns."""
    ran.append(x)
    return x


def _keep_busy(name: str) -> None:
    for number in itertools.count():
        features(f"{name} {number}")


def main(command: str, *arguments: str) -> None:
    """Run one of the commands."""
    if command == "once":
        assert features("once") == {"x": "once"}
        print("computed", len(ran))
    elif command == "stampede":
        features("warm up")
        caching.flush()
        ran.clear()
        while not Path(arguments[0]).exists():
            time.sleep(0.001)
        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(features, ["slow"] * 50)) == [{"x": "slow"}] * 50
        print("computed", len(ran))
    elif command == "fork":
        features("fork")
        assert caching.flush()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            ran.clear()
            assert features("fork") == {"x": "fork"}
            os.write(writing, str(len(ran)).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert features("fork") == {"x": "fork"}
        print(f"child computed {os.read(reading, 9).decode()}, parent computed {len(ran)}")
    elif command == "fork beside threads":
        for name in range(3):
            threading.Thread(target=_keep_busy, args=(str(name),), daemon=True).start()
        for number in range(8):
            child = os.fork()
            if child == 0:
                faulthandler.dump_traceback_later(30, exit=True)
                assert features(f"forked {number}") == {"x": f"forked {number}"}
                runtime.close()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print("ended")
    elif command == "killed":
        for number in range(20):
            written(str(number))
        os.kill(os.getpid(), signal.SIGKILL)
    elif command == "after_kill":
        for number in range(20):
            written(str(number))
        print("computed", len(ran))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How commands end: what people are told on stderr, what programs get on stdout, and the exit code."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retention_pipelines.cli import app


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as found:
        app.main(list(arguments))
    said = capsys.readouterr()
    return int(found.value.code or 0), said.out, said.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("run",), "Missing argument"),
        (("plan", "--bogus"), "No such option: --bogus"),
        (("lake", "history", "observations", "--limit", "0"), "--limit"),
        (("plam",), "No such command"),
    ],
)
def test_what_was_mistyped_is_an_object_too_where_json_is_asked_for(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    code, out, err = ended(capsys, *arguments, "--json")
    told = json.loads(out)
    assert (code, told["state"], set(told)) == (2, "mistake", {"state", "reason", "hint"})
    assert reason in told["reason"]
    assert "Usage: retention" in err
    assert ended(capsys, *arguments)[:2] == (2, "")


def test_a_disk_without_space_is_told_to_programs_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(os, "scandir", full)
    code, out, err = ended(capsys, "training", "verify", "--json")
    told = json.loads(out)
    assert (code, told["state"], told["reason"][:18]) == (2, "mistake", "No space left for ")
    assert err == f"Error: {told['reason']}\n{told['hint']}\n"


def test_an_output_without_space_is_told_to_people(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "retention_pipelines.cli.app", "training", "verify", "--json"]
    environment = os.environ | {"RETENTION_STATE_DIR": str(tmp_path)}
    with open("/dev/full", "w") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment, check=False, timeout=60
        )
    said = "Error: No space left for the output.\nFree some, then run it again.\n"
    assert (done.returncode, done.stderr) == (2, said)

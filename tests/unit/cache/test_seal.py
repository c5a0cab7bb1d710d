"""Seals: what was not sealed here, for this place, with this secret, does not verify."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.postgres.seal import SEAL_BYTES, Seal, header

SECRET = b"a secret of some length"


def test_what_was_signed_verifies_and_signing_again_gives_the_same() -> None:
    seal, where = Seal(SECRET), header("local", "features", "k", "json1")
    signed = seal.sign(where, b"payload")
    assert len(signed) == SEAL_BYTES
    assert Seal(SECRET).verify(where, b"payload", signed)


def test_another_secret_another_place_and_another_payload_do_not_verify() -> None:
    seal, where = Seal(SECRET), header("local", "features", "k", "json1")
    signed = seal.sign(where, b"payload")
    assert not Seal(b"another secret as long").verify(where, b"payload", signed)
    assert not seal.verify(where, b"payloae", signed)
    assert not seal.verify(where, b"", signed)
    assert not seal.verify(where, b"payload", b"")
    for place in (
        ("other", "features", "k", "json1"),
        ("local", "predictions", "k", "json1"),
        ("local", "features", "j", "json1"),
        ("local", "features", "k", "json2"),
        ("local", "features", "kj", "son1"),
        ("local", "features", "", "kjson1"),
    ):
        assert not seal.verify(header(*place), b"payload", signed)


def test_a_flipped_bit_anywhere_never_verifies() -> None:
    seal, dice = Seal(SECRET), random.Random(7)
    for _ in range(200):
        where = header("t", "features", str(dice.random()), "c")
        payload = dice.randbytes(dice.randrange(1, 300))
        parts = [where, payload, seal.sign(where, payload)]
        for _ in range(100):
            place, broken = dice.randrange(3), list(parts)
            bit = dice.randrange(len(parts[place]) * 8)
            changed = bytearray(parts[place])
            changed[bit // 8] ^= 1 << bit % 8
            broken[place] = bytes(changed)
            assert not seal.verify(*broken)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_headers_of_different_parts_differ(one: list[str], other: list[str]) -> None:
    assert (header(*one) == header(*other)) == (one == other)


def test_a_payload_cannot_be_moved_into_the_header() -> None:
    seal = Seal(SECRET)
    assert seal.sign(b"ab", b"c") != seal.sign(b"a", b"bc")


def test_short_secrets_are_refused_and_long_ones_count_to_their_end() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Seal(b"short")
    assert Seal(b"x" * 100 + b"a").sign(b"", b"") != Seal(b"x" * 100 + b"b").sign(b"", b"")

"""Codes survive being typed, and nothing but the code proves the code."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.enrolment import (
    BadCodeError,
    EnrolmentCode,
    address_uri,
    is_proven,
    proof_key,
    prove,
    username,
)
from schemas.topics import AgentAddress

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SERVERS = st.sampled_from(["http://192.168.1.5:8080", "https://plant.example/afkobling", "http://[fd00::1]:80"])
CODES = st.builds(
    lambda server, text: EnrolmentCode(server=server, code_id=text[:6], secret=text[6:]),
    SERVERS,
    st.text(ALPHABET, min_size=30, max_size=30),
)


@given(CODES)
def test_what_is_written_is_read(code: EnrolmentCode) -> None:
    assert EnrolmentCode.parse(str(code)) == code
    assert code.secret not in repr(code)


@given(CODES, st.data())
def test_a_sloppy_hand_is_understood(code: EnrolmentCode, data: st.DataObject) -> None:
    server, _, text = str(code).partition("#")
    typed = "".join(
        data.draw(st.sampled_from({"0": "0Oo", "1": "1IiLl"}.get(one, one + one.lower())))
        + data.draw(st.sampled_from(["", "", " ", "-", "\u2013", "\u2011"]))
        for one in text.replace("-", "")
    )
    assert EnrolmentCode.parse(f"  {server}/#{typed}\n") == code


@given(CODES, st.integers(0, 29))
def test_a_code_that_is_not_whole_is_none(code: EnrolmentCode, keep: int) -> None:
    server, _, text = str(code).partition("#")
    with pytest.raises(BadCodeError, match="paste it whole"):
        EnrolmentCode.parse(f"{server}#{text.replace('-', '')[:keep]}")


@pytest.mark.parametrize("text", ["", "hello", "#", "ftp://x#" + "0" * 30, "0" * 30, "http://x#" + "U" * 30])
def test_what_is_no_code_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(BadCodeError, match="one looks like"):
        EnrolmentCode.parse(text)


@given(CODES, CODES, st.binary(max_size=50), st.binary(max_size=50))
def test_only_the_secret_proves_and_only_what_was_said(
    code: EnrolmentCode, other: EnrolmentCode, data: bytes, else_said: bytes
) -> None:
    key = proof_key(code.secret)
    proof = prove(key, "request", data)
    assert is_proven(key, "request", data, proof)
    assert not is_proven(key, "answer", data, proof)
    assert is_proven(key, "request", else_said, proof) == (else_said == data)
    assert is_proven(proof_key(other.secret), "request", data, proof) == (other.secret == code.secret)


def test_codes_are_made_of_what_is_chosen() -> None:
    made = EnrolmentCode.make("http://x/", choose=secrets.choice)
    assert EnrolmentCode.parse(str(made)) == made
    assert made != EnrolmentCode.make("http://x/", choose=secrets.choice)


@given(st.integers(1, 2**159), st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,62}\Z"))
def test_names_fit_a_certificate_and_differ_by_serial(serial: int, key: str) -> None:
    address = AgentAddress(organisation="o", site="s", agent=key)
    assert len(username(address, serial)) <= 64
    assert username(address, serial) != username(address, serial + 1)
    assert address_uri(address) == f"urn:afkobling:o/s/{key}"

"""The rules by which the catcher fails, and that the same seed fails alike."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.failures import STAGES, FailureError, Failures, Outcome, Rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("rcpt=451@10%", Rule("rcpt", code=451, chance=0.1)),
        ("data=552", Rule("data", code=552)),
        ("connect=drop", Rule("connect", drop=True)),
        ("mail=delay:2s", Rule("mail", delay_seconds=2.0)),
        ("helo=delay:150ms@3x", Rule("helo", delay_seconds=0.15, times=3)),
        ("rcpt:*@a.example=550 gone for good", Rule("rcpt", "*@a.example", code=550, text="gone for good")),
        ("rcpt:bob@a.example=450@12.5%", Rule("rcpt", "bob@a.example", code=450, chance=0.125)),
        ("auth=535 ask admin@example.org", Rule("auth", code=535, text="ask admin@example.org")),
    ],
)
def test_rules(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("rcpt", 4, "STAGE=WHAT"),
        ("rctp=451", 0, "no stage"),
        ("data:x=451", 4, "pattern"),
        ("rcpt:=451", 4, "pattern"),
        ("rcpt=abc", 5, "nothing that can happen"),
        ("rcpt=250", 5, "400 to 599"),
        ("rcpt=451@", 5, "nothing"),
        ("rcpt=451@200%", 5, "nothing"),
        ("rcpt=delay:2", 5, "nothing"),
        ("rcpt=delay:9999m", 5, "at most"),
        ("rcpt=451 a\nb", 8, "one line"),
    ],
)
def test_faults_have_a_caret(text: str, at: int, words: str) -> None:
    with pytest.raises(FailureError, match=words) as fault:
        Rule.parse(text)
    assert fault.value.at == at


RULES = st.builds(
    Rule,
    st.sampled_from(STAGES),
    st.just("*"),
    drop=st.just(False),
    delay_seconds=st.just(0.0),
    times=st.none(),
    code=st.integers(400, 599),
    text=st.sampled_from(["", "my words", "ask a@b.example"]),
    chance=st.sampled_from([1.0, 0.5, 0.01]),
)


@given(RULES)
def test_round_trip(rule: Rule) -> None:
    assert Rule.parse(str(rule)) == rule


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    with suppress(FailureError):
        Rule.parse(text)


def test_the_same_seed_fails_alike() -> None:
    def outcomes(seed: int | None) -> list[int]:
        failures = Failures(["rcpt=451@30%"], seed)
        return [failures.at("rcpt", "a@b.example").code for _ in range(200)]

    assert outcomes(7) == outcomes(7) != outcomes(8)
    assert 20 < outcomes(7).count(451) < 100
    again = Failures(["rcpt=451@30%"])
    assert outcomes(again.seed) == [again.at("rcpt", "a@b.example").code for _ in range(200)]


def test_the_first_times_only() -> None:
    failures = Failures(["rcpt=450@2x"])
    assert [failures.at("rcpt").code for _ in range(4)] == [450, 450, 0, 0]


def test_rules_of_a_stage_in_their_order() -> None:
    failures = Failures(["mail=delay:1s", "mail=delay:2s", "mail:ann@*=450", "mail=drop"])
    assert failures.at("mail", "ann@example.org") == Outcome(3.0, False, 450, "4.2.0 Mailbox busy, as was asked for")
    assert failures.at("mail", "bob@example.org") == Outcome(3.0, True, 0, "As was asked for")
    assert failures.at("rcpt", "ann@example.org") == Outcome()

"""What the patterns find, in whole texts and in texts that arrive in pieces."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentrail.middleware import API_KEY, CARD, EMAIL, PRIVATE_KEY, SECRETS, Pattern
from agentrail.middleware._hide import Hider, hide, hide_values

HEAD = "-----BEGIN RSA PRIVATE KEY-----"
TAIL = "-----END RSA PRIVATE KEY-----"
PEM = f"{HEAD}\nProc-Type: 4,ENCRYPTED\n\nMIIEowIBAAKCAQEA\nq1w2e3==\n{TAIL}"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"

FOUND = {
    "ann.lee+x@mail.example.co.uk": EMAIL,
    "a@b.io": EMAIL,
    "4111111111111111": CARD,
    "4111 1111 1111 1111": CARD,
    "3782-822463-10005": CARD,
    "6304000000000000000": CARD,
    "sk-abcdefghijklmnop0123": API_KEY,
    "sk-ant-api03-abcdefghijklmnop": API_KEY,
    "sk_live_abcdefghijklmnop": API_KEY,
    "ghp_" + "a1" * 18: API_KEY,
    "github_pat_" + "a1" * 15: API_KEY,
    "glpat-abcdefghij0123456789": API_KEY,
    "xoxb-1234567890-abcdef": API_KEY,
    "AKIAIOSFODNN7EXAMPLE": API_KEY,
    "AIza" + "a1b2c" * 7: API_KEY,
    "hf_" + "aB" * 17: API_KEY,
    "Bearer abcdefgh01234567.-_~+/==": API_KEY,
    "bearer \tabcdefgh01234567": API_KEY,
    JWT: API_KEY,
    PEM: PRIVATE_KEY,
    "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----": PRIVATE_KEY,
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----": PRIVATE_KEY,
}

NOT_FOUND = [
    "ann@localhost",
    "pkg@1.2.3",
    "@ann",
    "4111111111111112",  # a wrong check digit
    "1700000000000",  # milliseconds since 1970
    "41111111111111110000000",  # too long
    "4111 1111",
    "sk-short",
    "task-abcdefghijklmnopqrstuvwxyz",
    "bearer internationalizations",
    "the bearer of this letter",
    "eyJhbGciOiJIUzI1NiJ9",
    "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
    "an ordinary sentence, with 12 words.",
]


@pytest.mark.parametrize("text", FOUND)
@pytest.mark.parametrize(
    "around",
    ["{}", "see {}", "{} it is", "({})", '{{"k": "{}"}}', "x={}\n", "很{}好", "<{}>", "{}."],
)
def test_what_is_secret_is_hidden_wherever_it_stands(text: str, around: str) -> None:
    hidden = hide(SECRETS, around.format(text))

    shown = around.format(f"[{FOUND[text].name}]")
    assert hidden in {shown, shown.removesuffix(".")}  # a token may end in a full stop


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert hide(SECRETS, text) is text


def test_a_card_number_is_found_between_other_numbers() -> None:
    assert hide(SECRETS, "12 4111 1111 1111 1111 2 times") == "12 [card] 2 times"
    assert hide(SECRETS, "4111 1111 1111 1111 4111 1111 1111 1111") == "[card] [card]"


@pytest.mark.parametrize("cut", [f"see {HEAD}\nMIIE", f"see {HEAD}"])
def test_a_private_key_that_is_cut_off_is_hidden_to_the_end(cut: str) -> None:
    assert hide(SECRETS, cut) == "see [private key]"


def test_matches_that_overlap_become_one() -> None:
    first = Pattern("first", r"abc", longest=3)
    second = Pattern("second", r"bcd", longest=3)

    assert hide([first, second], "xabcdx") == "x[first]x"
    assert hide([second, first], "xabcdx") == "x[first]x"
    assert hide([first, second], "abcbcd") == "[first][second]"
    assert hide([first, Pattern("whole", "a.*d", longest=9)], "xabcdx") == "x[first]x"


def test_a_match_of_nothing_hides_nothing() -> None:
    assert hide([Pattern("nothing", r"x*", longest=3)], "abxc") == "ab[nothing]c"


def test_a_pattern_needs_a_length() -> None:
    with pytest.raises(ValueError, match="longest"):
        Pattern("nothing", "x", longest=0)


def test_values_are_hidden_at_any_depth_and_keys_are_not() -> None:
    value = {"a@b.io": ["a@b.io", 5, {"x": ("a@b.io", None)}]}

    assert hide_values(SECRETS, value) == {"a@b.io": ["[email]", 5, {"x": ["[email]", None]}]}


def test_values_with_nothing_to_hide_are_the_same() -> None:
    value = {"x": [1, "fine", {"y": (2.5, True)}]}

    assert hide_values(SECRETS, value) is value


def test_values_that_are_nested_without_end_are_hidden_whole() -> None:
    deep: object = "a@b.io"
    for _ in range(900):
        deep = [deep]

    assert "a@b.io" not in str(hide_values(SECRETS, deep))


def in_pieces(text: str, cuts: list[int], patterns: tuple[Pattern, ...] = SECRETS) -> str:
    """Returns what a text becomes that arrives cut at these places."""
    hider = Hider(patterns)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[a:b] for a, b in pairwise(places)]
    return "".join([hider.feed(piece) for piece in pieces] + [hider.feed("", last=True)])


secrets = st.sampled_from([*FOUND, *NOT_FOUND, HEAD, TAIL])


def half(text: str, at: int) -> str:
    return text[: at % len(text)]


halves = st.builds(half, secrets, st.integers(1, 200))
plain = st.text(st.sampled_from("ab19 @.-_=:\n'好eyJskBNIEG"), max_size=8)
texts = st.lists(st.one_of(secrets, halves, plain), max_size=8).map("".join)


@given(text=texts, cuts=st.lists(st.integers(0, 2000), max_size=12))
@example(text=f"a {PEM} b", cuts=list(range(300)))
@example(text="4111 1111 1111 1111 2", cuts=[19, 20])
def test_a_text_in_pieces_becomes_what_the_whole_text_becomes(text: str, cuts: list[int]) -> None:
    assert in_pieces(text, cuts) == hide(SECRETS, text)


@given(text=texts)
def test_so_it_does_character_by_character(text: str) -> None:
    assert in_pieces(text, list(range(len(text)))) == hide(SECRETS, text)


@pytest.mark.parametrize("pattern", SECRETS)
def test_a_pattern_alone_may_look_at_the_character_before_what_arrives(pattern: Pattern) -> None:
    text = "a_word_that_is_no_key_though_it_ends_insk-abcdefghijklmnop0123"

    assert in_pieces(text, list(range(len(text))), (pattern,)) == hide([pattern], text) == text


own = (
    Pattern("staff", r"E[0-9]{4}", longest=5),
    Pattern("room", r"(?<![A-Z])R[0-9]{1,3}(?![0-9])", longest=5),
    Pattern("code", re.compile(r"x[a-z]{0,6}y"), longest=8),
)


@given(
    text=st.text(st.sampled_from("ER1234xyab "), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=20),
)
def test_so_does_a_text_with_patterns_of_ones_own(text: str, cuts: list[int]) -> None:
    assert in_pieces(text, cuts, own) == hide(own, text)


def test_words_are_held_back_no_longer_than_to_their_end() -> None:
    hider = Hider(SECRETS)
    shown = [hider.feed(piece) for piece in ("The ", "answer ", "is 42", ", my ", "friend")]

    assert shown == ["The ", "answer ", "is ", "42, my ", ""]
    assert hider.feed("", last=True) == "friend"


@pytest.mark.parametrize("text", ["a" * 100_000, "a@" * 50_000, HEAD * 4_000, "答" * 50_000])
def test_what_is_held_back_has_a_bound(text: str) -> None:
    hider, shown = Hider(SECRETS), 0
    longest = max(pattern.longest for pattern in SECRETS)
    for start in range(0, len(text), 1000):
        shown += len(hider.feed(text[start : start + 1000]))
        assert len(hider._text) <= longest + 1000 + 1


def test_a_text_in_a_language_without_spaces_is_not_held_back() -> None:
    hider = Hider(SECRETS)

    assert hider.feed("这是一个很长的回答") == "这是一个很长的回答"


HOSTILE = {
    "one letter": "a",
    "at": "a@",
    "dots": "a.",
    "digits": "4",
    "spaced digits": "4 ",
    "token": "eyJ",
    "tokens": "-eyJ",
    "token parts": "eyJaaaaaaaa.",
    "bearer": "bearer ",
    "bearer without digit": "bearer aaaaaaaaaaaaaaaaaaaaaaaa ",
    "prefix": "sk-",
    "hyphens": "-",
    "begin": "-----BEGIN ",
    "key": HEAD,
    "domains": "a" * 64 + "@" + "b" * 63 + ".",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_searched_to_its_end(name: str) -> None:
    """A regex that backtracks over a million characters does not end before the test's timeout."""
    unit = HOSTILE[name]
    whole = unit * (1_000_000 // len(unit))

    assert len(hide(SECRETS, whole)) > 0
    assert len(in_pieces(whole[:20_000], list(range(0, 20_000, 16)))) > 0

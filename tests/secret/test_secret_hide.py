"""Values are hidden in texts, however many there are, and names tell which may be secret."""

import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.secret import (
    HIDDEN,
    MOST_HIDDEN,
    Hider,
    credentials_in,
    is_ordinary,
    tells_secret,
    without_credentials,
)


def hiding(*values: str) -> Hider:
    hide = Hider()
    for at, value in enumerate(values):
        hide.add(value, f"<the value {at}>")
    return hide


@given(
    st.lists(st.text("ab/", min_size=6, max_size=8), min_size=1, max_size=5, unique=True),
    st.text("ab/ ", max_size=100),
)
def test_with_very_many_values_a_text_is_hidden_as_with_few(values: list[str], said: str) -> None:
    few, many = hiding(*values), hiding(*values, *(f"{at:03} is a value" for at in range(150)))
    whole = "".join([said, *values, said])

    assert many(whole) == few(whole)
    assert many(values[-1]) == f"<the value {len(values) - 1}>"
    assert not [value for value in values if value in many(whole)]
    assert many("149 is a value") == f"<the value {len(values) + 149}>"


def test_the_longest_of_values_that_begin_alike_is_hidden() -> None:
    hide = hiding("https://h/", "https://h/ab", "https://h/abcd", "https://h/abcX", "https://h/b")

    assert hide("https://h/abcc") == "<the value 1>cc"
    assert hide("https://h/abcX, https://h/abcde") == "<the value 3>, <the value 2>e"
    assert (
        hide("https://h/aa, https://h/c, https://") == "<the value 0>aa, <the value 0>c, https://"
    )


def test_very_many_long_values_that_begin_alike_do_not_slow_down_a_look() -> None:
    """To try each length of them wherever one may begin would take minutes."""
    hide = hiding(*(f"https://h.example/{'a/' * at}{at}" for at in range(MOST_HIDDEN)))
    said = "https://" * 100_000

    assert hide(said) == said
    assert hide(f"{said}h.example/a/a/2") == f"{said[:-8]}<the value 2>"


def test_of_two_places_of_a_value_the_first_counts() -> None:
    hide = Hider()
    hide.add("the value", "<named>")
    hide.add("the value")

    assert hide("the value") == "<named>"


def test_the_oldest_values_without_a_place_are_forgotten_when_there_are_very_many() -> None:
    hide = hiding("it has a place")
    hide.add("the first of all")
    hide.add("the second of all")
    for at in range(2 * MOST_HIDDEN - 2):
        hide.add(f"what comes {at:04}")
    assert hide("the first of all, the second of all") == f"{HIDDEN}, {HIDDEN}"

    hide.add("the first of all")  # it is in use still
    hide.add("what comes last")

    assert hide("the first of all, the second of all") == f"{HIDDEN}, the second of all"
    assert hide("what comes last, what comes 1997") == f"{HIDDEN}, {HIDDEN}"
    assert hide("it has a place") == "<the value 0>"


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hurried")
def test_values_are_added_while_texts_are_looked_at() -> None:
    hiders, said, done = [hiding("the first value")], list[str](), threading.Event()

    def look() -> None:
        while not done.is_set():
            said.append(hiders[-1]("it is the first value."))
        said.append("the end")

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(20):
        hiders.append(hiding("the first value"))
        for at in range(60):
            hiders[-1].add(f"{at:03} is a value")
    done.set()
    looking.join()

    assert {*said} == {"it is <the value 0>.", "the end"}


@pytest.mark.parametrize(
    "name",
    [
        "pass",
        "pwd",
        "password",
        "PASSWORD",
        "dbPassword",
        "dbpassword",
        "key",
        "apiKey",
        "APIKey",
        "api-key",
        "X-Bearer",
        "auth",
        "Authorization",
        "DSN",
        "sig",
        "id_token",
        "tokens",
        "private.key.pem",
        "set-cookie",
        "secret_id",
        "roleSecretId",
        "connection_string",
        "ConnectionString",
        "pat",
        "github_pat",
        "primary_api_key",
    ],
)
def test_a_name_tells_of_a_secret(name: str) -> None:
    assert tells_secret(name)
    assert tells_secret(name, above=True)


@pytest.mark.parametrize(
    "name", ["monkey", "keyholder", "keyboard", "author", "bypass", "tokenizer", "pinned", "", "é"]
)
def test_a_word_that_has_that_of_a_secret_in_it_is_another(name: str) -> None:
    assert not tells_secret(name)
    assert tells_secret(name, above=True)


@pytest.mark.parametrize(
    "name", ["primary_key", "sortKey", "partition_key", "foreign_keys", "orders.primary_key"]
)
def test_what_finds_rows_is_no_secret_but_in_one(name: str) -> None:
    assert not tells_secret(name)
    assert tells_secret(name, above=True)


@pytest.mark.parametrize("name", ["key_file", "tokenUrl", "secret-name", "key_id", "max_tokens"])
def test_what_is_about_a_secret_is_none(name: str) -> None:
    assert not tells_secret(name)
    assert not tells_secret(name, above=True)


def test_a_word_and_a_small_number_are_ordinary() -> None:
    assert all(map(is_ordinary, ["administer", "Production", "60.5", "604800", ""]))
    assert not any(map(is_ordinary, ["correcthorse", "hunter2", "12345678", "a word", "öffnen"]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://ann:p%40ss@h.example/v1", {"ann:p%40ss", "p%40ss", "ann:p@ss", "p@ss"}),
        ("https://ghp_123@h.example", {"ghp_123"}),
        ("http://h/v1?api-version=2026-10-21&sig=a%2Fb12", {"a%2Fb12", "a/b12"}),
        ("host=h.example port=5432 password='two words' sslmode=require", {"two words"}),
        ("Server=h;Uid=ann;Pwd=S3CRET;", {"S3CRET"}),
        ("http://h/v1?token=none&key=value", set[str]()),
        ("ask for a password = secret thing", set[str]()),
        ("redis://default@h/0", set[str]()),
        ("pg://postgres:postgres@h/0", {"postgres:postgres"}),
        ("https://ann:it's-1@h and 'https://h/?sig=it's-2'", {"ann:it's-1", "it's-1", "it's-2"}),
        ("https://h/?partition_key=customer_id", set[str]()),
    ],
)
def test_what_programs_connect_with_is_found(text: str, found: set[str]) -> None:
    assert set(credentials_in(text, pairs=True)) == found


def test_where_anything_may_be_said_a_password_counts_in_urls_alone() -> None:
    said = "Write api_key=YOUR_KEY; see 'http://h/?token=a1b2c3d4' and https://u:p4ss@h/."

    assert set(credentials_in(said)) == {"a1b2c3d4", "u:p4ss", "p4ss"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://h/v1?sig=S3CRET", "http://h/v1?sig=*"),
        ("http://h/v1?a=b=c&x=&S3CRET#top", "http://h/v1?a=*&x=&*#top"),
        ("http://h/?S3CRET", "http://h/?*"),
        ("http://h/a;jsessionid=S3CRET/b", "http://h/a;jsessionid=*"),
        ("http://h/#access_token=S3CRET&state=x", "http://h/#access_token=*&state=*"),
        ("pg://ann:S3CRET@h/d?x=1, and <https://h/?y=2>", "pg://*@h/d?x=* and <https://h/?y=*>"),
        ("what is it? a=b", "what is it? a=b"),
        ("http://h:8000/v1/@scope", "http://h:8000/v1/@scope"),
        ("https://ann:it's-S3CRET@h/v1?a='b'", "https://*@h/v1?a=*'"),
        ("ask 'http://h/?a=it's-S3CRET', or 'http://h/'", "ask 'http://h/?a=*', or 'http://h/'"),
        ('<http://u:"p>@h/?a=1> "http://h/?a=2"', '<http://*@h/?a=*> "http://h/?a=*"'),
    ],
)
def test_of_a_url_is_shown_where_it_leads(text: str, shown: str) -> None:
    assert without_credentials(text, lambda _: "*") == shown


def test_what_is_put_in_a_url_does_not_end_it() -> None:
    shown = without_credentials("https://ann:p@h/?a=1", lambda _: "[hidden 12]")

    assert shown == "https://[hidden 12]@h/?a=[hidden 12]"


@pytest.mark.parametrize("part", ["a", "://", "?", ";", "#", "@", "=", "a=", "?a", " ", "'", ".-"])
def test_no_text_takes_long_to_look_through(part: str) -> None:
    """What takes the square of its length would take hours."""
    text = f"http://{part * 1_000_000}"

    assert len(without_credentials(text, lambda each: each)) == len(text)
    assert len(list(credentials_in(text))) < 3

"""How well and how fast the memory finds: by words, by meaning, and by both.

The turns and the questions about them are made from a seed, so each question has one right answer:

- paraphrased: the question shares no word with the turn but ``I``, ``my`` and ``the``;
- exact: it names somebody, or a number;
- mixed: it names somebody of whom several turns tell, and paraphrases which one is meant.

Run it with ``make bench``, or with a number of turns: ``bench_memory.py 20000``.
"""

import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import anyio
from attrs import frozen

from agentrail.memory import Memory, _sql
from agentrail.memory._rank import DEPTH
from agentrail.requests import Principal

SEED = 7
ME = Principal()
DEPTHS = (1, 5, 10)
ASKED = 300
"""Questions of each kind."""

THINGS = """car automobile;sofa couch;film movie;flat apartment;doctor physician;lawyer attorney;
photo picture;gift present;shop store;bicycle bike;jacket coat;boss manager;illness disease;
holiday vacation;child kid;stone rock;road street;hat cap;cup mug;purse handbag;carpet rug;
soap detergent;taxi cab;dish meal;forest woods;essay article;error mistake;job occupation;
test exam;money cash;boat ship;house home;infant baby;sickbed hospital;garbage trash;
journey trip;painting artwork;letter mail;notebook laptop;spectacles glasses"""
DEEDS = """bought purchase;repaired fix;lost misplace;described explain;painted color;cleaned wash;
began start;finished complete;chose select;sold trade;visited see;liked enjoy;feared dread;
hid conceal;borrowed lend"""
DETAILS = ("last Tuesday", "with my sister", "in Lisbon", "for eighty euros", "after lunch")
SMALL_TALK = ("Tell me a joke about", "Write a poem about", "Translate into French:", "Explain")
TOPICS = ("rain", "penguins", "the moon", "democracy", "chess", "tea", "trains", "gravity")
SYLLABLES = (
    "ba",
    "dor",
    "fen",
    "gal",
    "hul",
    "jas",
    "kep",
    "lin",
    "mor",
    "nax",
    "pel",
    "quin",
    "tul",
)

SCRIPTS = (
    ("我的鹦鹉叫弗林特船长", "鹦鹉"),
    ("会议改到星期二下午", "星期二开会"),
    ("车库的密码在抽屉里", "密码"),
    ("妹妹住在上海市区", "上海"),
    ("会議は火曜日に変わりました", "火曜日"),
    ("妹は大阪に住んでいます", "大阪の妹"),
    ("猫の名前はタマです", "猫"),
    ("자전거를 지하실에 두었어요", "자전거는 어디"),
    ("회의는 화요일에 있습니다", "화요일 회의"),
    ("الكِتَابُ على الطاولة", "كتاب"),
    ("أختي تسكن في القاهرة", "القاهره"),
    ("الاجتماع يوم الثلاثاء", "اجتماع"),
    ("मेरी बिल्ली का नाम टीना है", "बिल्ली"),
    ("ประชุมวันอังคารตอนบ่าย", "วันอังคาร"),
    ("Встреча во вторник в кафе Ёлка", "елка"),
    ("Das Café in der Straße schließt früh", "cafe strasse"),
)
"""Turns and queries in other scripts, where spaces, endings, marks or articles get in the way."""


PART = 2_000
"""Turns that are taken in at a time."""

QUERIES = 60

Way = Callable[[str], Awaitable[list[int]]]


@frozen
class Question:
    """A question, and which turn answers it."""

    kind: str
    text: str
    turn: int


def pairs(text: str) -> list[tuple[str, str]]:
    """Return words and what they are paraphrased with."""
    return [(said, asked) for said, asked in (each.split() for each in text.split(";"))]


def labelled(dice: random.Random) -> tuple[list[str], list[Question]]:
    """Return turns, and the questions about them."""
    names = [
        "".join(dice.choices(SYLLABLES, k=3)).title() + str(number) for number in range(2 * ASKED)
    ]
    turns: list[str] = []
    questions: list[Question] = []

    def add(kind: str, turn: str, text: str) -> None:
        questions.append(Question(kind, text, len(turns)))
        turns.append(turn)

    things, deeds = pairs(THINGS), pairs(DEEDS)
    for (thing, thing_asked), (deed, deed_asked) in product(things, deeds):
        add(
            "paraphrased",
            f"I {deed} the {thing} {dice.choice(DETAILS)}.",
            f"When did I {deed_asked} the {thing_asked}?",
        )
    for name in names[:ASKED]:
        code = f"{dice.randrange(10**6):06}"
        turn = f"The invoice of {name} has the number {code} and is due {dice.choice(DETAILS)}."
        add("exact", turn, dice.choice([f"What is the number of {name}?", f"Whose is {code}?"]))
    for number in range(ASKED):
        name = names[ASKED + number // 5]
        (deed, _), (thing, asked) = dice.choice(deeds), things[number * 7 % len(things)]
        add("mixed", f"{name} {deed} my {thing}.", f"What happened to my {asked} with {name}?")
    turns += [f"{dice.choice(SMALL_TALK)} {dice.choice(TOPICS)}." for _ in range(500)]
    kinds = dict.fromkeys(question.kind for question in questions)
    sample = [
        question
        for kind in kinds
        for question in dice.sample([each for each in questions if each.kind == kind], ASKED)
    ]
    return turns, sample


async def filled(path: Path, texts: Sequence[str]) -> Memory:
    """Return a memory of the turns, open and embedded; turn 0 has the key 1."""
    memory = Memory(path)
    await memory.start()

    def fill(db: sqlite3.Connection, start: int) -> None:
        for number, text in enumerate(texts[start : start + PART], start):
            key = _sql.begin(db, f"t{number}", ME, f"s{number // 10}", 0.0)
            _sql.fill(db, key or 0, text, "Noted.")

    for start in range(0, len(texts), PART):
        await memory._db.write(partial(fill, start=start))
    await memory.stop()
    await memory.start()  # which counts what is to be embedded
    await memory.settled()
    return memory


def ways(memory: Memory) -> Mapping[str, Way]:
    """Return the ways of searching, each from a query to the numbers of turns."""
    meaning = memory._meaning
    if meaning is None:
        raise SystemExit("install agentrail-host[memory] to measure it")

    async def words(query: str) -> list[int]:
        found = await memory._db.read(lambda db: _sql.matching(db, 1, query, "", DEPTH))
        return [key - 1 for key, _ in found]

    async def likeness(query: str) -> list[int]:
        wanted = await meaning.of(query) or b""
        found = await memory._db.read(lambda db: meaning.vectors.likest(db, 1, wanted, "", DEPTH))
        return [key - 1 for key, _ in found]

    async def both(query: str) -> list[int]:
        found = await memory.search(ME, query, limit=DEPTHS[-1])
        return [int(turn.turn_id[1:]) for turn in found]

    async def by_rank(query: str) -> list[int]:
        """Merge by reciprocal rank fusion, which looks at places alone."""
        scores: dict[int, float] = {}
        for way in (words, likeness):
            for place, number in enumerate(await way(query), 1):
                scores[number] = scores.get(number, 0) + 1 / (60 + place)
        return sorted(scores, key=lambda number: -scores[number])

    return {"full text": words, "embeddings": likeness, "both": both, "both, RRF": by_rank}


async def quality(directory: Path) -> None:
    """Print how often the right turn is among the first 1, 5 and 10."""
    turns, questions = labelled(random.Random(SEED))  # noqa: S311 - a labelled set
    memory = await filled(directory / "quality.db", turns)
    print(f"\nrecall@{'/'.join(map(str, DEPTHS))} of {len(turns)} turns, {ASKED} questions a kind")
    for kind in dict.fromkeys(question.kind for question in questions):
        asked = [question for question in questions if question.kind == kind]
        for name, way in ways(memory).items():
            found = [(await way(question.text), question.turn) for question in asked]
            shares = [sum(turn in ids[:depth] for ids, turn in found) / ASKED for depth in DEPTHS]
            print(f"  {kind:12} {name:11} " + "  ".join(f"{share:.2f}" for share in shares))
    await memory.stop()


async def scripts(directory: Path) -> None:
    """Print how many turns in other scripts are found, with SQLite's own tokenizers beside ours."""
    memory = await filled(directory / "scripts.db", [turn for turn, _ in SCRIPTS])
    ours = [await ways(memory)["full text"](query) for _, query in SCRIPTS]
    await memory.stop()
    found = {"as here": sum(ids[:1] == [number] for number, ids in enumerate(ours))}
    for tokenizer in ("unicode61", "trigram"):
        db = sqlite3.connect(":memory:")
        db.execute(f"create virtual table t using fts5 (said, tokenize = '{tokenizer}')")
        db.executemany("insert into t values (?)", [(turn,) for turn, _ in SCRIPTS])
        hits = [
            db.execute(
                "select rowid from t where t match ? order by rank limit 1",
                (" OR ".join(f'"{word}"' for word in query.split()),),
            ).fetchone()
            for _, query in SCRIPTS
        ]
        found[tokenizer] = sum(hit == (number,) for number, hit in enumerate(hits, 1))
    print(f"\nfound first, of {len(SCRIPTS)} turns in other scripts")
    for name, count in found.items():
        print(f"  {name:12} {count}")


async def speed(directory: Path, count: int) -> None:
    """Print what a search takes among so many turns of one user, and the memory of the process."""
    dice = random.Random(SEED)  # noqa: S311 - as above
    turns, questions = labelled(dice)
    words = [word for turn in turns for word in turn.split()]
    texts = [" ".join([dice.choice(turns), *dice.choices(words, k=30)]) for _ in range(count)]
    began = time.perf_counter()
    memory = await filled(directory / "speed.db", texts)
    each = (time.perf_counter() - began) / count * 1e3
    print(f"\n{count} turns of one user: {each:.2f} ms each to take in and embed")
    walls: dict[str, list[float]] = {}
    works: dict[str, list[float]] = {}
    for question in dice.sample(questions, QUERIES):
        for name, way in list(ways(memory).items())[:3]:
            began, worked = time.perf_counter(), time.process_time()
            await way(question.text)
            walls.setdefault(name, []).append((time.perf_counter() - began) * 1e3)
            works.setdefault(name, []).append((time.process_time() - worked) * 1e3)
    for name, times in walls.items():
        print(
            f"  {name:11} median {statistics.median(times):6.1f} ms, of which"
            f" {statistics.median(works[name]):5.1f} ms of processor time; first {times[0]:.0f} ms"
        )
    began = time.perf_counter()
    await memory.forget(ME, turn_id="t5")
    print(f"  to forget one turn {(time.perf_counter() - began) * 1e3:.0f} ms")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = (directory / "speed.db").stat().st_size / 2**20
    print(f"  file {size:.0f} MiB, most memory of the process {peak:.0f} MiB")
    await memory.stop()


async def main(count: int) -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as directory:
        await quality(Path(directory))
        await scripts(Path(directory))
        await speed(Path(directory), count)


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)

"""What becomes of the files of a turn: checked, kept, told and shown to the model, given back."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from agentrail import (
    AgentHost,
    AppConfig,
    Attachment,
    ChatRequest,
    ChatResponse,
    Image,
    MemorySessionStore,
    Message,
    Plugin,
    Principal,
    Profile,
    RequestContext,
    RequestLimits,
    ScriptedModel,
    SessionStore,
    SQLiteSessionStore,
    Text,
    ToolCall,
    create_app,
    define_plugin,
    tool,
)
from agentrail.attachment import csv_preview, documents, hints, text
from agentrail.errors import (
    AttachmentNotFound,
    AttachmentTypeRefused,
    LeaseLost,
    PayloadTooLarge,
    RequestError,
    SessionNotFound,
)
from agentrail.events import AttachmentsKept
from agentrail.host import said
from agentrail.messages import AttachedFile
from agentrail.requests import Resume
from agentrail.session import Lease, Owner
from agentrail.tool import ask
from tests.attachment import files

pytestmark = pytest.mark.anyio

ME = Principal()
Make = Callable[..., AgentHost]


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel.repeat("Fine.")


@pytest.fixture
def make(model: ScriptedModel, tmp_path: Path) -> Make:
    """Returns a function that makes a host on the test's directory."""

    def make(
        *plugins: Plugin,
        images: bool = False,
        limits: RequestLimits | None = None,
        store: SessionStore | None = None,
        answers: ScriptedModel | None = None,
    ) -> AgentHost:
        profile = Profile(
            id="a",
            model="scripted:m",
            images=images,
            tools=[pay],
            permissions=[ask("pay")],
        )
        config = AppConfig(
            profiles=[profile],
            providers=[answers or model],
            plugins=plugins,
            data_dir=tmp_path,
            store=store,
            limits=limits or RequestLimits(),
        )
        return create_app(config).host

    return make


@tool
def pay() -> str:
    """Pay a bill."""
    return "paid"


def asking(*attached: Attachment, message: str = "look", session: str = "s") -> ChatRequest:
    return ChatRequest(message, session_id=session, attachments=attached)


def plain(name: str = "a.txt", data: bytes = b"hello") -> Attachment:
    return Attachment(name, "application/x-made-up", data)


async def run(host: AgentHost, request: ChatRequest, kind: str) -> None:
    """Run a turn through one of the two doors."""
    if kind == "chat":
        await host.chat(request)
    else:
        async with host.stream(request) as events:
            async for _ in events:
                pass


def kept(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.glob("attachments/*/??/*"))]


@pytest.mark.parametrize("kind", ["chat", "stream"])
async def test_handlers_are_joined_in_plugin_order_by_a_blank_line(
    make: Make, model: ScriptedModel, kind: str
) -> None:
    attached = [
        plain("a.txt"),
        plain("t.csv", b"x,y\n1,2\n"),
        plain("d.pdf", files.pdf(text="Hello PDF")),
        plain("i.png", files.PNG),
    ]
    async with make(hints(), text(), csv_preview(), documents(seconds=50)) as host:
        await run(host, asking(*attached), kind)

    assert model.requests[0].messages[-1].text == (
        "Uploaded files: a.txt (text/plain, 5 bytes), t.csv (text/csv, 8 bytes), "
        f"d.pdf (application/pdf, {len(attached[2].data)} bytes), i.png (image/png, 16 bytes)\n\n"
        "The file 'a.txt':\n\nhello\n\n"
        "The file 't.csv':\n\n"
        "[a table of 2 columns, with 1 row below the first one; it begins so]\nx,y\n1,2\n\n"
        "The file 'd.pdf':\n\nHello PDF\n\nlook"
    )


@pytest.mark.parametrize("kind", ["chat", "stream"])
async def test_the_log_names_the_files_and_the_original_is_given_back(
    make: Make, kind: str
) -> None:
    name = "تقرير ٢٠٢٦.txt"
    async with make() as host:
        await run(host, asking(plain(name), plain("b", files.PNG)), kind)

        events = [e for e in await host.core.store.read("s") if isinstance(e, AttachmentsKept)]
        found = await host.attachment(ME, "s", events[0].files[0].sha256)

    assert [event.files for event in events] == [
        (
            AttachedFile(sha256(b"hello").hexdigest(), name, "text/plain", 5),
            AttachedFile(sha256(files.PNG).hexdigest(), "b", "image/png", 16),
        )
    ]
    assert found == Attachment(name, "text/plain", b"hello")


@pytest.mark.parametrize("keep", [False, True])
async def test_a_message_in_the_history_names_the_files_that_came_with_it(
    make: Make, *, keep: bool
) -> None:
    plugin = define_plugin(
        "p",
        intercept_chat_request=lambda _r, _c: ChatResponse("Kept.", keep=True) if keep else None,
    )
    request = asking(plain("people.csv"), plain("Übersicht 2.csv"), message="Look.")
    async with make(plugin) as host:
        await host.chat(request)
        await host.chat(asking(message="And?"))

        asked = [row.message for row in await host.messages(ME, "s") if row.message.role == "user"]
    assert [message.files for message in asked] == [(), ("people.csv", "Übersicht 2.csv")]
    assert said(asked[1]) == "Look. [files: people.csv, Übersicht 2.csv]"


async def test_every_hook_is_told_what_the_content_says(make: Make) -> None:
    seen: list[str] = []

    def intercept(request: ChatRequest, _context: RequestContext) -> None:
        seen.extend(each.mime_type for each in request.attachments)

    async with make(define_plugin("see", intercept_chat_request=intercept)) as host:
        await host.chat(asking(plain("x.png", files.pdf(text="x"))))

    assert seen == ["application/pdf"]


async def test_nobody_else_is_given_a_file(make: Make) -> None:
    digest = sha256(b"hello").hexdigest()
    async with make() as host:
        await host.chat(asking(plain()))
        other = ChatRequest("hi", session_id="o", user_id="other", attachments=(plain("b"),))
        await host.chat(other)
        await host.chat(ChatRequest("hi", session_id="empty"))

        for principal, session in (
            (Principal(user_id="other"), "s"),
            (Principal(tenant_id="other"), "s"),
            (ME, "o"),
            (ME, "none"),
        ):
            with pytest.raises(SessionNotFound):
                await host.attachment(principal, session, digest)
            with pytest.raises(SessionNotFound):
                await host.attachments(principal, session)
        assert [file.filename for file in await host.attachments(ME, "s")] == ["a.txt"]
        assert await host.attachments(ME, "empty") == []
        with pytest.raises(AttachmentNotFound):
            await host.attachment(ME, "empty", digest)


async def test_a_deleted_session_takes_its_files_with_it_but_those_of_others(
    make: Make, tmp_path: Path
) -> None:
    async with make() as host:
        await host.chat(asking(plain(), plain("b", b"own"), session="1"))
        await host.chat(asking(plain(), session="2"))

        await host.delete_session(ME, "1")
        assert kept(tmp_path) == [b"hello"]
        await host.delete_session(ME, "2")
        assert kept(tmp_path) == []


async def test_a_session_that_is_deleted_under_a_turn_leaves_no_file(
    make: Make, tmp_path: Path
) -> None:
    async def delete(_files: Sequence[Attachment], _context: RequestContext) -> str:
        await host.delete_session(ME, "s")
        return ""

    host = make(define_plugin("delete", attachment_handler=delete))
    async with host:
        with pytest.raises(LeaseLost):
            await host.chat(asking(plain()))

    assert kept(tmp_path) == []


class Deleting(SQLiteSessionStore):
    """A store in which somebody deletes every session just after it was taken."""

    host: AgentHost

    async def acquire(self, session_id: str, owner: Owner, **more: Any) -> Lease:  # noqa: ANN401
        lease = await super().acquire(session_id, owner, **more)
        await self.host.delete_session(ME, session_id)
        return lease


async def test_one_that_is_deleted_before_its_files_are_kept_leaves_none(
    make: Make, tmp_path: Path
) -> None:
    store = Deleting(tmp_path / "sessions.db")
    store.host = make(store=store)
    async with store.host:
        with pytest.raises(LeaseLost):
            await store.host.chat(asking(plain()))

    assert kept(tmp_path) == []


async def test_sessions_in_memory_leave_nothing_behind(make: Make, tmp_path: Path) -> None:
    async with make(store=MemorySessionStore()) as host:
        await host.chat(asking(plain()))
        found = await host.attachment(ME, "s", sha256(b"hello").hexdigest())

    assert found.data == b"hello"
    assert kept(tmp_path) == []


async def test_an_answer_that_is_not_kept_keeps_no_files_and_one_that_is_does(
    make: Make, tmp_path: Path
) -> None:
    def answer(request: ChatRequest, _context: RequestContext) -> ChatResponse:
        return ChatResponse("mine", keep=request.text == "keep")

    async with make(define_plugin("answer", intercept_chat_request=answer)) as host:
        await host.chat(asking(plain("a", b"forgotten")))
        await host.chat(asking(plain("a", b"kept"), message="keep"))

    assert kept(tmp_path) == [b"kept"]


# Images


SHOWN = Image("image/png", files.PNG)


async def test_images_are_shown_to_a_model_that_takes_them_in_later_turns_too(
    make: Make, model: ScriptedModel
) -> None:
    async with make(hints(), images=True) as host:
        await host.chat(asking(plain("i", files.PNG), plain("a.txt")))
    async with make(hints(), images=True) as host:
        await host.chat(ChatRequest("and now?", session_id="s"))
        rows = await host.messages(ME, "s")

    first, second = model.requests
    hint = "Uploaded files: i (image/png, 16 bytes), a.txt (text/plain, 5 bytes)\n\n"
    assert first.messages[-1].parts == (Text(hint), Text("look"), SHOWN)
    assert second.messages[0].parts == first.messages[-1].parts
    asked = rows[-1].message.parts
    assert asked == (Text("look"), Image("image/png", b"", sha256(files.PNG).hexdigest()))


async def test_an_image_alone_is_shown_without_an_empty_text(
    make: Make, model: ScriptedModel
) -> None:
    async with make(images=True) as host:
        await host.chat(asking(plain("i", files.PNG), message=""))

    assert model.requests[0].messages[-1].parts == (SHOWN,)


async def test_images_are_not_shown_to_a_model_that_does_not_take_them(
    make: Make, model: ScriptedModel
) -> None:
    async with make() as host:
        await host.chat(asking(plain("i", files.PNG)))

    assert model.requests[0].messages[-1].parts == (Text("look"),)


async def test_an_image_is_shown_again_when_a_suspended_turn_goes_on(make: Make) -> None:
    call = ToolCall(id="1", name="pay")
    calls = ScriptedModel([Message.assistant((call,)), "Paid."])
    async with make(images=True, answers=calls) as host:
        waiting = await host.chat(asking(plain("i", files.PNG)))
        await host.decide(ME, waiting.turn_id, waiting.approvals[0].call.id, approved=True)
        await host.chat(Resume(waiting.turn_id))

    for request in calls.requests:
        assert SHOWN in request.messages[0].parts


async def test_an_image_whose_file_is_lost_is_told_and_the_session_goes_on(
    make: Make, model: ScriptedModel, tmp_path: Path
) -> None:
    async with make(images=True) as host:
        await host.chat(asking(plain("i", files.PNG)))
        lose(tmp_path)
        await host.chat(ChatRequest("and now?", session_id="s"))

    gone = Text("[an image that is no longer there]")
    assert model.requests[1].messages[0].parts == (Text("look"), gone)


def lose(directory: Path) -> None:
    for path in directory.glob("attachments/*/??/*"):
        path.unlink()


async def test_a_request_names_no_image_by_its_hash(make: Make, model: ScriptedModel) -> None:
    stolen = Image("image/png", b"", sha256(files.PNG).hexdigest())
    async with make(images=True) as host:
        await host.chat(asking(plain("i", files.PNG)))
        for session, user in (("s", "default"), ("t", "thief")):
            request = ChatRequest((Text("show"), stolen), session_id=session, user_id=user)
            with pytest.raises(RequestError, match="sha256"):
                await host.chat(request)

    assert len(model.requests) == 1


async def test_a_hash_shows_no_image_of_another_session(make: Make, model: ScriptedModel) -> None:
    async def show(context: RequestContext) -> None:
        stolen = Image("image/png", b"", sha256(files.PNG).hexdigest())
        await context.services.model().complete([Message.user((Text("show"), stolen))])

    async with make(define_plugin("show", on_turn_persisted=show), images=True) as host:
        await host.chat(asking(plain("i", files.PNG)))
        await host.chat(ChatRequest("hi", session_id="t", user_id="thief"))

    gone = Text("[an image that is no longer there]")
    assert model.requests[1].messages[-1].parts == (Text("show"), SHOWN)
    assert model.requests[3].messages[-1].parts == (Text("show"), gone)


async def test_an_image_that_came_often_is_read_once_for_a_call(
    make: Make, model: ScriptedModel
) -> None:
    async with make(images=True) as host:
        for _ in range(2):
            await host.chat(asking(plain("i", files.PNG)))

    first, _, second = model.requests[1].messages
    assert first.parts[1] == SHOWN
    assert first.parts[1] is second.parts[1]


async def test_a_plugin_may_ask_a_model_about_an_image(make: Make, model: ScriptedModel) -> None:
    async def ask_again(context: RequestContext) -> None:
        said: list[Message] = [*await context.services.session.turn()]
        await context.services.model("scripted:other").complete(said[:1])

    plugin = define_plugin("ask", on_turn_persisted=ask_again)
    async with make(plugin, images=True) as host:
        await host.chat(asking(plain("i", files.PNG)))

    assert [request.model for request in model.requests] == ["m", "other"]
    assert model.requests[1].messages[0].parts == (Text("look"), SHOWN)


# Limits


@pytest.mark.parametrize("kind", ["chat", "stream"])
async def test_a_type_that_is_not_taken_is_refused_by_its_content(
    make: Make, model: ScriptedModel, kind: str
) -> None:
    limits = RequestLimits(attachment_types=["image/*", "application/pdf"])
    async with make(limits=limits) as host:
        await run(host, asking(plain("a.txt", files.PNG)), kind)
        with pytest.raises(AttachmentTypeRefused) as refused:
            await run(host, asking(plain("a.png", b"text")), kind)

    assert refused.value.detail == (
        "attachment 'a.png' is text/plain by its content; taken are image/*, application/pdf"
    )
    assert refused.value.status == 415
    assert len(model.requests) == 1


@pytest.mark.parametrize("kind", ["chat", "stream"])
async def test_a_tenant_without_room_is_told_before_anything_happens(
    make: Make, model: ScriptedModel, kind: str
) -> None:
    limits = RequestLimits(attachment_bytes_of_tenant=7)
    async with make(limits=limits) as host:
        await run(host, asking(plain()), kind)
        await run(host, asking(plain("again")), kind)
        with pytest.raises(PayloadTooLarge, match="delete sessions"):
            await run(host, asking(plain("b", b"123")), kind)
        await host.delete_session(ME, "s")
        await run(host, asking(plain("b", b"123")), kind)

    assert len(model.requests) == 3


async def test_all_files_of_a_request_have_a_limit_together(make: Make) -> None:
    async with make(limits=RequestLimits(attachment_bytes_in_all=10)) as host:
        await host.chat(asking(plain("a", b"12345"), plain("b", b"12345")))
        with pytest.raises(PayloadTooLarge, match="11 bytes in all"):
            await host.chat(asking(plain("a", b"12345"), plain("b", b"123456")))


NAMES = [
    *("تقرير.pdf", "報告\u3000書.txt", "\u0645\u06cc\u200c\u062e.txt", "Zürich (2).txt", "%2e%2e"),
    *("Screenshot 3.04\u202fPM", "\U0001f469\u200d\U0001f467.png", "x" * 255),
]
NO_NAMES = [
    *("a\nb", "تقرير\n.txt", "a\x00", "a\x7f", "a\u202egpj.exe", "a\u2028b", "\ud800"),
    *("..", ".", "", "a/b", "a\\b", "x" * 256),
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_plain_name_in_any_script_is_taken(make: Make, name: str) -> None:
    async with make() as host:
        await host.chat(asking(plain(name)))
        found = await host.attachment(ME, "s", sha256(b"hello").hexdigest())

    assert found.filename == name


@pytest.mark.parametrize("name", NO_NAMES, ids=ascii)
async def test_a_name_that_is_more_than_a_name_is_refused(make: Make, name: str) -> None:
    async with make() as host:
        with pytest.raises(RequestError, match="must be a plain file name"):
            await host.chat(asking(plain(name)))

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from agentrail import (
    AppConfig,
    Attachment,
    ChatRequest,
    Principal,
    Profile,
    RequestLimits,
    ScriptedModel,
    create_app,
)
from agentrail.attachment import csv_preview, documents, hints, text

TOLD = """\
Uploaded files: people.csv (text/csv, 25 bytes)

The file 'people.csv':

[a table of 2 columns, with 2 rows below the first one; it begins so]
name,age
Ada,36
Grace,85

Who is older?"""


async def main() -> None:
    model = ScriptedModel(["Grace."])
    with TemporaryDirectory() as directory:
        data_dir = Path(directory)
        # region application
        app = create_app(
            AppConfig(
                profiles=[Profile(id="assistant", model="scripted:any", images=True)],
                providers=[model],
                plugins=[hints(), text(), csv_preview(), documents()],
                limits=RequestLimits(attachment_types=["text/*", "image/*", "application/pdf"]),
                data_dir=data_dir,
            )
        )
        # endregion
        # region ask
        people = Attachment("people.csv", "text/csv", b"name,age\nAda,36\nGrace,85\n")
        async with app.host as host:
            answer = await host.chat(ChatRequest("Who is older?", attachments=(people,)))
        # endregion
        assert answer.session_id is not None
        assert model.requests[0].messages[-1].text == TOLD
        async with app.host as host:
            # region fetch
            kept = await host.attachments(Principal(), answer.session_id)
            first = await host.attachment(Principal(), answer.session_id, kept[0].sha256)
            assert first == people
            # endregion


anyio.run(main)

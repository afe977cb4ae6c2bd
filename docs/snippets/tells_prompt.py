from agentrail import AppConfig, ModelRequest, Profile, ScriptedModel, create_app


async def tell_prompt(request: ModelRequest) -> str:
    return f"My prompt: {request.messages[0].text}"


app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="scripted:any")],
        providers=[ScriptedModel.repeat(tell_prompt)],
    )
)

from agentrail import AppConfig, ModelRequest, Profile, ScriptedModel, create_app
from agentrail.plugin import PackageSettings


async def tell_tools(request: ModelRequest) -> str:
    return f"My tools: {[tool.name for tool in request.tools]}"


app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="scripted:any")],
        providers=[ScriptedModel.repeat(tell_tools)],
        packages=PackageSettings(),
    )
)

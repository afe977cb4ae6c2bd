from agentrail import AppConfig, Profile, ScriptedModel, create_app

assistant = Profile(id="assistant", model="scripted:any", prompt="Be brief.")
model = ScriptedModel.repeat("Hello, I am a script.")

app = create_app(AppConfig(profiles=[assistant], providers=[model]))

from agentrail import AppConfig, Profile, create_app, standard_routes
from agentrail.route import metrics_route

# region routes
routes = [*standard_routes(), metrics_route()]
# endregion

app = create_app(
    AppConfig(profiles=[Profile(id="assistant", model="local:smollm2-135m")], routes=routes)
)
assert app.host.composition.routes[-1].path == "/metrics"

"""A greeting, as a module that says by itself what it is and which tools it has."""


def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"


def get_manifest() -> dict[str, object]:
    """Return what the package is; it is read here, and not called."""
    return {
        "name": "hello_world",
        "version": "1.0.0",
        "description": "Greets people by their names.",
        "author": "agentrail",
        "enabled": False,  # a small model does better without tools
    }


def get_tools() -> list[dict[str, object]]:
    """Return the tools, each as the model is told of it, with the function that does it."""
    return [
        {
            "schema": {
                "type": "function",
                "function": {
                    "name": "greet",
                    "description": "Greet somebody by name.",
                    "parameters": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}},
                        "required": ["name"],
                    },
                },
            },
            "handler": greet,
        }
    ]

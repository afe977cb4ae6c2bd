"""What models are bad at counting, as a class with one method; the manifest has its schema."""


class CustomTool:
    """Counts."""

    def execute(self, text: str) -> dict[str, int]:
        """Return how long a text is."""
        return {
            "characters": len(text),
            "words": len(text.split()),
            "lines": len(text.splitlines()),
        }

"""Texts that come from elsewhere, made safe to show."""


def visible(text: str) -> str:
    """Return the text with escapes for characters that are invisible or change the direction of writing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

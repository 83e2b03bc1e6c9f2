"""What people typed, shown as it is: names, errors and values are text, never Markdown."""

import re

# Between these two a word joiner, which nobody sees, keeps Streamlit from making a link, an icon, an emoji, a colour
# or an arrow of them: a backslash does not, for some of these are looked for in the text that Markdown left.
_JOINED = re.compile(r"(?<=:)(?=[^\s:]|:)|(?<=@)(?=\w)|(?<=www)(?=\.)|(?<=[-<>~=])(?=[-<>=])", re.IGNORECASE)
_MARKUP = re.compile(r"[\\`*_\[\]<>$~|&]")
_AT_THE_START = re.compile(r"^(\d{1,9})(?=[.)])|^(?=[-+#=])")


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 run", "2,000 runs"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def plain(text: object) -> str:
    """Markdown that shows exactly this text, in one line; ordinary sentences are left as they are."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    joined = _JOINED.sub("\N{WORD JOINER}", line)
    escaped = _MARKUP.sub(lambda found: f"\\{found[0]}", joined)
    return _AT_THE_START.sub(lambda found: f"{found[1] or ''}\\", escaped)

"""Text of programs in messages for people."""

from __future__ import annotations


MESSAGE_LENGTH = 300


def one_line(text: str) -> str:
    """
    Return a text as one line of at most 300 printable characters.

    Control characters, escapes, line ends and marks of direction, and white space beside them, become one space.
    """
    start = text[: 4 * MESSAGE_LENGTH]
    words = "".join(character if character.isprintable() else " " for character in start).split()
    line = " ".join(words)
    is_whole = len(line) <= MESSAGE_LENGTH and len(start) == len(text)
    return line if is_whole else line[: MESSAGE_LENGTH - 3] + "..."

"""Dice, as a module that carries its manifest in a comment.

A package is not listed by ``app.py``: the host finds it, and an administrator switches it on.
"""
# /// plugin
# id = "dice"
# name = "Dice"
# version = "1.0.0"
# description = "Rolls dice."
# type = "tool"
# enabled = false
# ///

import secrets

from agentrail import tool


@tool
def roll(dice: int = 1, sides: int = 6) -> str:
    """Roll dice, and tell what each of them shows.

    Args:
        dice: how many, up to 100.
        sides: how many sides each has, from 2 to 1000.
    """
    many, wide = min(max(dice, 1), 100), min(max(sides, 2), 1000)
    rolled = [1 + secrets.randbelow(wide) for _ in range(many)]
    return f"{' + '.join(map(str, rolled))} = {sum(rolled)}"


tools = [roll]

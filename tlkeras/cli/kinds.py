"""Kinds of arguments that several commands take."""

from __future__ import annotations

import math

import click


class FloatRange(click.FloatRange):
    """As click's own, but that NaN is refused, which is neither below nor above any bound."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


class _Place(click.ParamType):
    """The name of a file or folder; not an empty one, which would mean the folder that one is in."""

    name = "text"

    def convert(self, value, param, ctx):
        if not value:
            self.fail("an empty name; give a file or a folder.", param, ctx)
        return value


PLACE = _Place()

"""Numbers on the command line."""

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

"""The card files of the backbones that come with tlkeras; no code."""

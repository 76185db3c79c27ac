"""The sea trial: the checks between research and live."""

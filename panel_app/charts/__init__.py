"""Charts on Bokeh column sources that are streamed to, and the arithmetic behind them."""

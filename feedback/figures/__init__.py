"""The admin's page of what people say: figures, charts, and the way down to the answers behind them."""

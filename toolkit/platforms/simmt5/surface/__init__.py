"""The surface of the MetaTrader5 package: constants, tuples, and its own checks of arguments."""

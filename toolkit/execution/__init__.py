"""From a signal to an order: the request, the intent and its states, the trade service, the ports."""

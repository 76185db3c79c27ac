"""What all sessions of one process share: topics that are polled once for everybody, and what follows them."""

from panel_app.data_store.store import DataStore, Subscription
from panel_app.data_store.topics import FleetTopic, ListTopic, RunTopic, Topic

__all__ = ["DataStore", "FleetTopic", "ListTopic", "RunTopic", "Subscription", "Topic"]

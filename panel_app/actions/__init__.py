"""What a person may do from the page: each action asks first, then calls into ``toolkit.live``, which checks and audits.

The page decides nothing: a button that should not be there, or a message made up by a browser, meets the same refusal.
"""

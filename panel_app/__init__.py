"""The web page that watches LiveRuns, and the same live views in a notebook: ``panel_app.watch(run)``."""

from __future__ import annotations

from typing import Any

__all__ = ["watch"]


def watch(run: Any = None) -> Any:
    """Return the live view of a run, or of all runs, for a notebook cell to display.

    Parameters
    ----------
    run
        What ``tk.start`` or ``tk.run`` returned, or None for the list of all runs.

    Returns
    -------
    RunView or FleetView
        Keeps itself up to date until its ``close()`` is called or the kernel ends.
    """
    import panel as pn

    from panel_app.context import store_of
    from panel_app.data_store.review import Review
    from panel_app.views.fleet import FleetView
    from panel_app.views.run import RunView
    from toolkit.session import default_engine

    pn.extension("tabulator", inline=True)
    engine = default_engine()
    store = store_of(engine)
    if run is None:
        return FleetView(store)
    return RunView(store, run.id, review=Review(engine, engine.principal))

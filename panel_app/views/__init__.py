"""One Viewer for each page; the same objects display in a notebook."""

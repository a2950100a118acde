"""Privacy: removing identity, and refusing to let it out."""

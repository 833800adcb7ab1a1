"""Makes the pages that are not written by hand: one for each op, layer, loss, optimiser, schedule and notebook."""

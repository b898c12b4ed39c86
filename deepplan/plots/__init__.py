"""Drawing of timelines: matplotlib figures and Chrome trace JSON. Nothing here is imported before it is used."""

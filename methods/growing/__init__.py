"""Networks that grow: what progressive networks and dynamically expandable networks are made of."""

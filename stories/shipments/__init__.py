"""A shipment changes its status; customers, warehouse managers and delivery services each learn of it."""

"""The ways to compute one step of all lanes, and the choice among them."""

"""Which code a rerun trains with."""

RECORDED, HERE = "recorded", "here"
CHOICES = (RECORDED, HERE)

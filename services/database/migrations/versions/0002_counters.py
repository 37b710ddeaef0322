"""Counters: that a token was ever made stays known after its row is deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade by one step."""
    op.create_table(
        "counters",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False),
    )
    op.execute("INSERT INTO counters (name, count) SELECT 'tokens', count(*) FROM tokens")


def downgrade() -> None:
    """Downgrade by one step."""
    op.drop_table("counters")

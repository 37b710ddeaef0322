"""A resumed sweep may continue even if its data have changed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade by one step."""
    op.add_column("submissions", sa.Column("accepts_changes", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Downgrade by one step."""
    op.drop_column("submissions", "accepts_changes")

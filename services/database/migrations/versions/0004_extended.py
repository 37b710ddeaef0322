"""A sweep that has ended may be given more to train."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade by one step."""
    op.add_column("submissions", sa.Column("extended", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Downgrade by one step."""
    op.drop_column("submissions", "extended")

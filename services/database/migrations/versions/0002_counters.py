"""That a token was made is known for ever, whatever becomes of its row."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go one step on."""
    op.create_table(
        "counters",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False),
    )
    op.execute("INSERT INTO counters (name, count) SELECT 'tokens', count(*) FROM tokens")


def downgrade() -> None:
    """Go one step back."""
    op.drop_table("counters")

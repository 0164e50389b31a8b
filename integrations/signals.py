"""What this app announces to higher ones."""

from django.dispatch import Signal

# Sent inside the transaction that saved it, in the tenant's scope: connection, actor.
connection_saved = Signal()

# Sent inside the transaction in which a connection got another key, in the tenant's scope: connection, actor.
secret_replaced = Signal()

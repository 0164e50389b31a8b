"""What this app announces to higher ones."""

from django.dispatch import Signal

# Sent inside the transaction that is about to make a connection, in the tenant's scope: mode. A receiver that raises is
# heard: nothing is made.
connection_to_be_made = Signal()

# Sent inside the transaction that saved it, in the tenant's scope: connection, actor.
connection_saved = Signal()

# Sent inside the transaction in which a connection got another key, in the tenant's scope: connection, actor.
secret_replaced = Signal()

# Sent inside the transaction that removes a connection, before anything is changed, in the tenant's scope: connection,
# actor. A receiver that raises is heard: nothing is removed.
connection_removed = Signal()

# Sent inside the transaction that took entries off the tenant's suppression list, in the tenant's scope.
suppressions_removed = Signal()

# Sent when every data key is wrapped by the newest master key: for what else master keys seal. Receivers return a count.
master_key_rotated = Signal()

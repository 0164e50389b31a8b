"""Outbound webhooks: events written where they happen (outbox), sent beside everything else (sender), to addresses that
are checked when they are saved and again when they are called (addresses). Why not by lanes: docs/decisions."""

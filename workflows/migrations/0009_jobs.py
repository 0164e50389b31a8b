"""Jobs of vendors that are under way, and what vendors post back."""

import django.db.models.deletion
import django.db.models.functions.datetime
import tenants.ids
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0012_closing_is_final"),
        ("workflows", "0008_room_for_updates_in_place"),
    ]

    operations = [
        migrations.AddField(
            model_name="stepqueue",
            name="job",
            field=models.JSONField(
                help_text="what is under way at the vendor (lanes/work.py, Job)", null=True
            ),
        ),
        migrations.AddField(
            model_name="stepqueue",
            name="job_until",
            field=models.DateTimeField(help_text="when the job counts as timed out", null=True),
        ),
        migrations.CreateModel(
            name="Callback",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("entry_id", models.UUIDField(help_text="the queue entry whose call gave this address")),
                ("record_id", models.UUIDField()),
                ("attempt", models.PositiveSmallIntegerField()),
                ("digest", models.CharField(help_text="SHA-256 of the body", max_length=64)),
                ("body", models.BinaryField()),
                ("posts", models.PositiveIntegerField(default=1, help_text="how often this body was posted")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("new", "Not read yet"),
                            ("read", "Read"),
                            ("unreadable", "Unreadable"),
                            ("late", "Came late"),
                        ],
                        default="new",
                        max_length=16,
                    ),
                ),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("read_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "db_table": "callback",
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "new")), fields=["received_at"], name="callback_new"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "entry_id", "attempt", "digest"), name="callback_once"
                    )
                ],
            },
        ),
    ]

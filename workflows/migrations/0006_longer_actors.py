"""Room for an address of 254 characters after "user:". Widening a varchar rewrites nothing; old code writes less."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workflows", "0005_record_original")]

    operations = [
        migrations.AlterField(model_name=model, name=name, field=models.CharField(max_length=300))
        for model, name in (("upload", "created_by"), ("run", "created_by"), ("runevent", "actor"))
    ]

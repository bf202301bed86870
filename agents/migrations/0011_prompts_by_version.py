import uuid

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from agents.variants import prompt_version


def keep_present_prompts(apps, schema_editor):
    """What agents have now is all that can be known: earlier prompts were not kept."""
    prompts = apps.get_model("agents", "Prompt")
    for agent in apps.get_model("agents", "Agent").objects.exclude(system_prompt="").iterator():
        prompts.objects.create(agent=agent, version=prompt_version(agent.system_prompt), text=agent.system_prompt)


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0010_run_prompt_and_variant'),
    ]

    operations = [
        migrations.CreateModel(
            name='Prompt',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.CharField(max_length=12)),
                ('text', models.TextField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prompts', to='agents.agent')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('agent', 'version'), name='prompt_version_once_per_agent')],
            },
        ),
        migrations.RunPython(keep_present_prompts, migrations.RunPython.noop),
    ]

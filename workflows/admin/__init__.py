"""Workflows, runs, records, steps and lanes in the ops console."""

from tenants.ops_console.registry import Related, relate
from workflows.admin import lanes, money, runs, setup, steps

relate(
    "tenants.tenant",
    Related("Runs", "workflows.run", "tenant__id__exact"),
    Related("Workflows", "workflows.workflow", "tenant__id__exact"),
    Related("Lanes", "workflows.lane", "tenant__id__exact"),
    Related("Ambiguous calls", "workflows.ambiguouscall", "tenant__id__exact"),
)
relate("integrations.connection", Related("Lane", "workflows.lane", "connection_id"))
relate("workflows.workflow", Related("Runs", "workflows.run", "workflow_id"))
relate("workflows.upload", Related("Runs", "workflows.run", "upload_id"))
relate(
    "workflows.run",
    Related("Records", "workflows.record", "run_id"),
    Related("Queue", "workflows.stepqueue", "run_id"),
    Related("Lanes", "workflows.lanerun", "run_id"),
    Related("Events", "workflows.runevent", "run_id"),
    Related("Usage", "billing.usageevent", "run_id"),
)
relate(
    "workflows.lane",
    Related("Runs", "workflows.lanerun", "lane_id"),
    Related("Queue", "workflows.stepqueue", "lane_id"),
    Related("Steps", "workflows.step", "lane_id"),
)

__all__ = ["lanes", "money", "runs", "setup", "steps"]

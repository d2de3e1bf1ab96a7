"""What the Prefect server does on its own about runs of the flow: end those that died unseen, and notify people of failures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from ecomintent_batch.errors import UsageError
from ecomintent_batch.flows.classify_tickets import classify_tickets
from ecomintent_batch.flows.zombies import CRASHED_MESSAGE, SILENCE

_ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
_RUNS = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})
_OF_THE_FLOW = ResourceSpecification(
    {"prefect.resource.role": "flow", "prefect.resource.name": classify_tickets.name}
)


def end_zombies(after: timedelta = SILENCE) -> AutomationCore:
    """Return the automation that marks a run Crashed when its heartbeats stop: a killed process cannot report its own end.

    Until then the run occupies the one slot of its deployment.
    """
    return AutomationCore(
        name="ecomintent: end runs that died",
        description="A flow run whose heartbeats stopped is marked Crashed, so that the next one may start.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *_ENDS},
            match=_RUNS,
            match_related=_OF_THE_FLOW,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=after,
        ),
        actions=[
            ChangeFlowRunState(
                name=None, state=StateType.CRASHED, message=CRASHED_MESSAGE, force=False
            )
        ],
    )


def notify_name(name: str) -> str:
    """Return the name of the automation that notifies of failures of one pair of deployments."""
    return f"ecomintent: notify of failures of {name}"


def notify_failures(
    client: SyncPrefectClient, block: str, name: str, deployments: Sequence[str]
) -> AutomationCore:
    """Return the automation that sends a notification of each failed or crashed run through a notification block.

    Args:
        client: A client of the server that has the block.
        block: Type and name of the block, as in `slack-webhook/ops`.
        name: Of the pair of deployments.
        deployments: Names of the deployments whose runs count.

    Raises:
        UsageError: there is no such block.
    """
    kind, _, block_name = block.partition("/")
    try:
        document = client.read_block_document_by_name(block_name, kind)
    except ObjectNotFound:
        raise UsageError(
            f"--notify {block}: expected a notification block of this type and name, found none; make it in Prefect first"
        ) from None
    return AutomationCore(
        name=notify_name(name),
        description="Sends a notification of each run that failed or crashed, with its reason.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match=_RUNS,
            match_related=ResourceSpecification(
                {
                    "prefect.resource.role": "deployment",
                    "prefect.resource.name": list(deployments),
                }
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            SendNotification(
                block_document_id=document.id,
                subject="{{ flow.name }}: run {{ flow_run.name }} {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
            )
        ],
    )


def put_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Create an automation, or update the one of its name where it differs.

    An update gives triggers new ids, and with them Prefect forgets the runs whose heartbeats it is waiting for.
    """
    same_name = client.read_automations_by_name(automation.name)
    for duplicate in same_name[1:]:
        client.delete_automation(duplicate.id)
    if not same_name:
        client.create_automation(automation)
    elif _content(same_name[0]) != _content(automation):
        client.update_automation(same_name[0].id, automation)


def remove_automation(client: SyncPrefectClient, name: str) -> bool:
    """Delete the automations of a name; return whether there was one."""
    same_name = client.read_automations_by_name(name)
    for automation in same_name:
        client.delete_automation(automation.id)
    return bool(same_name)


def _content(automation: AutomationCore) -> Any:
    """Return what an automation does, without the ids that the server adds."""
    return _without_ids(
        automation.model_dump(mode="json", include={"description", "enabled", "trigger", "actions"})
    )


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_ids(item)
            for key, item in value.items()
            if key != "id" and item not in (None, [], {})
        }
    if isinstance(value, list):
        items = [_without_ids(item) for item in value]
        return sorted(items, key=str)
    return value

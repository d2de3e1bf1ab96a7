"""What the Prefect server does by itself about runs of the flow: end those that died unseen, and tell who has to know."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from ecomintent_batch.errors import UsageError
from ecomintent_batch.flows.classify_tickets import classify_tickets

_DIED = "Its heartbeats stopped: worker or machine died; the next run of the same parameters goes on from there."
_ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
_RUNS = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})
_OF_THE_FLOW = ResourceSpecification(
    {"prefect.resource.role": "flow", "prefect.resource.name": classify_tickets.name}
)


def end_zombies(after: timedelta = timedelta(seconds=90)) -> AutomationCore:
    """Return the automation that marks a run Crashed when its heartbeats stop: a killed worker cannot say that it died.

    Three heartbeats of 30 s may be lost on the way. Until then the run holds the slot of its deployment.
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
            ChangeFlowRunState(name=None, state=StateType.CRASHED, message=_DIED, force=False)
        ],
    )


def notify_failures(client: SyncPrefectClient, block: str) -> AutomationCore:
    """Return the automation that sends a notice of each failed or crashed run through a notification block.

    Args:
        client: Of the server that has the block.
        block: Type and name of the block, as in `slack-webhook/ops`.

    Raises:
        UsageError: there is no such block.
    """
    kind, _, name = block.partition("/")
    try:
        document = client.read_block_document_by_name(name, kind)
    except ObjectNotFound:
        raise UsageError(
            f"--notify {block}: expected a notification block of this type and name, found none; make it in Prefect first"
        ) from None
    return AutomationCore(
        name="ecomintent: tell of failures",
        description="Each run that failed or crashed is told, with its reason.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match=_RUNS,
            match_related=_OF_THE_FLOW,
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


def put_automations(client: SyncPrefectClient, automations: Iterable[AutomationCore]) -> None:
    """Make the automations, or bring those of the same names up to date."""
    for automation in automations:
        there = client.read_automations_by_name(automation.name)
        if there:
            client.update_automation(there[0].id, automation)
        else:
            client.create_automation(automation)

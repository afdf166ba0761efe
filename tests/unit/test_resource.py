"""The resource: what every span and metric says about the process that it comes from."""

import os
import socket

from fiveobs import observe_job
from fiveobs._config import load_config
from fiveobs.testing import capture

#: What the specification's environment block comes to.
BLOCK = {
    "service": "job-processor",
    "resource_attributes": "service.name=emp-job-queue,deployment.environment=prod",
    "worker_id": "worker-gpu-01",
    "machine_id": "machine-prod-01",
}


def resource(**settings):
    with capture(**settings) as captured:
        observe_job("job")(lambda: None)()
        (span,) = captured.spans
    return span["resource"]


def test_the_service_name_has_the_precedence_of_opentelemetry():
    """OTEL_SERVICE_NAME wins over OTEL_RESOURCE_ATTRIBUTES, whose other attributes stay."""
    found = resource(**BLOCK)
    assert found["service.name"] == "job-processor"
    assert found["deployment.environment"] == "prod"


def test_a_process_is_an_instance_whatever_its_worker_is_called():
    """Processes that share a WORKER_ID differ, or their sums would overwrite one another."""
    found = resource(**BLOCK)
    assert found["worker.id"] == "worker-gpu-01"
    assert found["machine.id"] == "machine-prod-01"
    assert found["service.instance.id"] == f"{socket.gethostname()}-{os.getpid()}"


def test_an_instance_can_be_named():
    """A service.instance.id among the resource attributes is used as it is."""
    found = resource(resource_attributes={"service.instance.id": "pod-7"})
    assert found["service.instance.id"] == "pod-7"


def test_resource_attributes_name_the_service_if_nothing_else_does():
    """A service.name given to configure() is the service of the jobs, too."""
    given = {"resource_attributes": {"service.name": "mining"}}
    assert load_config({}, given, strict=True).service == "mining"
    assert load_config({}, {**given, "service": "other"}, strict=True).service == "other"

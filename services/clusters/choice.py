"""Choose the cluster by the settings."""

from espalier.core.errors import BadInput
from espalier.services.clusters.cluster import Cluster
from espalier.services.clusters.local import LocalCluster
from espalier.services.clusters.ray_jobs import RayCluster
from espalier.services.isolation.confine import possible
from espalier.services.isolation.tenants import Tenants
from espalier.services.settings import Settings


def cluster_of(settings: Settings) -> Cluster:
    """Return the cluster of the settings. Raises BadInput for a bad address."""
    jobs = settings.home.absolute() / "jobs"
    if not settings.ray_address:
        return LocalCluster(jobs, variables=settings.job_variables.split(","), tenants=tenants_of(settings))
    if not settings.ray_address.startswith(("http://", "https://")):
        raise BadInput(f"SWEEP_RAY_ADDRESS: '{settings.ray_address}'; write http://HEAD:8265, the job server's address")
    return RayCluster(settings.ray_address, jobs, settings.ray_job_cpus)


def tenants_of(settings: Settings) -> Tenants | None:
    """Return the owners' homes, if jobs run on this machine as separate users."""
    if settings.ray_address or possible():
        return None
    return Tenants(settings.home.absolute(), settings.uids)

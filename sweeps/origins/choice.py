"""Choose the origin of sweeps: a service or a home."""

from os import PathLike

from espalier.core.errors import BadInput
from espalier.sweeps.home import Home
from espalier.sweeps.origins.origin import Origin


def origin_of(server: str | None, home: str | PathLike[str] | None, reading: bool = True) -> Origin:
    """Return a service if an address is given, else a home. Raises BadInput if both are given. reading: see Home.at."""
    if server and home:
        raise BadInput("home and server: keep one of them")
    if not server:
        from espalier.sweeps.origins.home_origin import HomeOrigin

        return HomeOrigin(Home.at(home, reading))
    from espalier.sweeps.client.service import Remote
    from espalier.sweeps.origins.service_origin import ServiceOrigin

    return ServiceOrigin(Remote(server))

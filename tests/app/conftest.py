"""Services that several tests ask; each is started once a file."""

import pytest
from tests.app.running import model_of, running
from tests.small_bundles import make, with_card


@pytest.fixture(scope="module")
def current(tmp_path_factory):
    """Return a model of real patients."""
    return model_of(make().bundle, tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def service(current):
    """Return the service of a model of real patients."""
    with running(current) as found:
        yield found


@pytest.fixture(scope="module")
def simulated_service(tmp_path_factory):
    """Return the service of a model of simulated patients."""
    bundle = with_card(make().bundle, simulated=True)
    with running(model_of(bundle, tmp_path_factory.mktemp("simulated"))) as found:
        yield found
